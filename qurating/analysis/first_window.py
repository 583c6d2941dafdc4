"""Whether long documents are judged by their beginning: the rating of a document's first window against its mean."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from qurating.analysis.rated import Floats, Rated
from qurating.analysis.tables import from_rows
from qurating.artifacts.files import row_files

FIRST_WINDOW = pa.schema(
    [
        ("criterion", pa.string()),
        ("num_documents", pa.int64()),
        ("pearson", pa.float64()),
        ("mean_absolute_difference_sd", pa.float64()),
    ]
)
Counts = npt.NDArray[np.int64]


def first_and_mean(
    values: Floats, lengths: Counts, num_windows: Counts, documents: Counts, positions: Counts
) -> tuple[Floats, Floats]:
    """The rating of the first window, and the mean of all windows by their lengths, of documents of several windows.

    Args:
        values, lengths: (W,) of the windows, sequence after sequence.
        num_windows: (S,) of each sequence.
        documents: (S,) codes of the documents of the sequences, from 0.
        positions: (S,) of the sequences in their documents.

    Returns:
        (D,) and (D,), in the order of the codes; documents with a window that is not finite are left out.
    """
    has_window = num_windows > 0
    starts = np.cumsum(num_windows) - num_windows
    of_window = np.repeat(documents, num_windows)
    size = int(documents.max(initial=-1)) + 1
    counts = np.bincount(of_window, minlength=size)
    weights = np.bincount(of_window, lengths, size)
    sums = np.bincount(of_window, lengths * values, size)
    order = np.lexsort((positions, documents))
    order = order[has_window[order]]
    codes, first = np.unique(documents[order], return_index=True)
    usable = (counts[codes] > 1) & (weights[codes] > 0)
    firsts = values[starts[order[first]]][usable]
    means = (sums[codes][usable]) / weights[codes][usable]
    finite = np.isfinite(firsts) & np.isfinite(means)
    return firsts[finite], means[finite]


def first_window(rated: Rated, corpus: Path) -> tuple[pa.Table, int]:
    """Pearson's r of the first window's rating and the document's mean, and their mean distance (`FIRST_WINDOW`).

    The distance is in standard deviations of the ratings of all sequences. A document is the sequences of one
    `document_id`, which lie in one shard; without this column, each sequence is a document. Documents of one window do
    not count.

    Returns:
        the table; how many shards lie between two that are read: 1 if all are, else the stride of the sequences.
    """
    files = row_files(corpus / "train")[:: rated.stride]
    found: dict[str, list[tuple[Floats, Floats]]] = {criterion: [] for criterion in rated.sources}
    folders = list(dict.fromkeys(source.ratings for source in rated.sources.values()))
    for file in tqdm(files, desc="reading windows", unit="shard", mininterval=0.5):
        documents = positions = None
        for folder in folders:
            rated_file = folder / "train" / file.name
            criteria = _with_windows(rated, folder, rated_file)
            if not criteria:
                continue
            if documents is None:
                documents, positions = _documents(file)
            assert positions is not None
            names = [f"{rated.sources[criterion].criterion}_chunks" for criterion in criteria]
            table = pq.read_table(rated_file, columns=["chunk_lengths", *names])
            column = table["chunk_lengths"].combine_chunks()
            num_windows = column.value_lengths().fill_null(0).to_numpy().astype(np.int64)
            lengths = column.flatten().to_numpy().astype(np.int64)
            for criterion, name in zip(criteria, names, strict=True):
                values = table[name].combine_chunks().flatten().to_numpy(zero_copy_only=False).astype(np.float64)
                found[criterion].append(first_and_mean(values, lengths, num_windows, documents, positions))
    rows = [(criterion, *_compared(parts, rated.ratings[criterion])) for criterion, parts in found.items()]
    return from_rows(rows, FIRST_WINDOW), rated.stride


def _compared(parts: Sequence[tuple[Floats, Floats]], ratings: Floats) -> tuple[int, float | None, float | None]:
    if not parts:
        return 0, None, None
    first, mean = (np.concatenate(column) for column in zip(*parts, strict=True))
    sd = float(ratings[np.isfinite(ratings)].std()) if np.isfinite(ratings).any() else 0.0
    if not len(first) or not sd > 0:
        return len(first), None, None
    correlation = float(np.corrcoef(first, mean)[0, 1]) if first.std() > 0 and mean.std() > 0 else None
    return len(first), correlation, float(np.abs(first - mean).mean()) / sd


def _with_windows(rated: Rated, folder: Path, file: Path) -> list[str]:
    """The criteria of an artifact of ratings whose windows a shard has."""
    there = set(pq.read_schema(file).names)
    own = {criterion: source.criterion for criterion, source in rated.sources.items() if source.ratings == folder}
    return [criterion for criterion, name in own.items() if {f"{name}_chunks", "chunk_lengths"} <= there]


def _documents(file: Path) -> tuple[Counts, Counts]:
    """A code for the document of each sequence of a shard, and the position of the sequence in it."""
    names = pq.read_schema(file).names
    count = pq.read_metadata(file).num_rows
    if "document_id" not in names:
        return np.arange(count), np.zeros(count, np.int64)
    wanted = [name for name in ("document_id", "position") if name in names]
    table = pq.read_table(file, columns=wanted, read_dictionary=["document_id"])
    codes = table["document_id"].combine_chunks()
    codes = codes if isinstance(codes, pa.DictionaryArray) else codes.dictionary_encode()
    documents = codes.indices.to_numpy().astype(np.int64)
    positions = table["position"].to_numpy().astype(np.int64) if "position" in wanted else np.arange(count)
    return documents, positions
