"""The sequences that a person looks at: an even sample, extremes and percentiles, with texts and ratings by window."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from qurating.analysis.groups import ascending
from qurating.analysis.rated import CLUSTER, DOMAIN, Counts, Mask, Rated, stride_for
from qurating.analysis.texts import TEXT, rows_at
from qurating.corpus import tokenizing

if TYPE_CHECKING:
    from qurating.analysis.clusters import Model  # it loads scikit-learn

NUM_EXTREMES = 5  # of the highest and of the lowest ratings of each criterion
NUM_DOMAINS = 10  # with most tokens: their sequences at the percentiles are among the documents


def chosen_rows(rated: Rated, at_percentiles: pa.Table, max_sampled: int) -> tuple[Counts, Mask, int]:
    """Which of the rated sequences are explored.

    Args:
        at_percentiles: the table of `groups.percentiles`.

    Returns:
        their rows, ascending; which of them are of the even sample of at most `max_sampled`; how many rated sequences
        the sample takes one of.
    """
    stride = stride_for(len(rated.ids), max_sampled)
    sampled = np.arange(0, len(rated.ids), stride)
    parts = [sampled]
    for values in rated.ratings.values():
        ranked = ascending(values)
        parts += [ranked[:NUM_EXTREMES], ranked[len(ranked) - min(NUM_EXTREMES, len(ranked)) :]]
    groups = rated.groups[DOMAIN]
    tokens = np.bincount(groups.codes, rated.lengths, len(groups.names))
    shown = [groups.names[code] for code in np.argsort(-tokens, kind="stable")[:NUM_DOMAINS].tolist()]
    ids = at_percentiles.filter(pc.is_in(at_percentiles["domain"], pa.array(shown, pa.string())))["id"]
    parts.append(np.flatnonzero(np.isin(rated.ids, ids.to_numpy())))
    rows = np.unique(np.concatenate(parts))
    return rows, np.isin(rows, sampled), stride


def documents(
    rated: Rated,
    corpus: Path,
    rows: Counts,
    is_sampled: Mask,
    subsets: Mapping[str, Mask],
    label_columns: Sequence[str],
    topics: "Model | None",
) -> tuple[pa.Table, int]:
    """The table of some sequences, `documents.parquet`.

    Columns: id, document_id, position, domain, cluster, length (tokens), text, `sampled` (whether it is of the even
    sample), `rating.<criterion>`, `percentile.<criterion>` (0 to 100, over all rated sequences), `windows.<criterion>`
    and `window_ends` (characters of the text) where windows are stored, `kept.<subset>`, `column.<label>`. Missing
    columns of the corpus are null.

    Args:
        rows: of the rated sequences, ascending.
        is_sampled: (rows,).
        subsets: (n,), which of the rated sequences each has.
        topics: clusters of texts; None: none.

    Returns:
        the table; the number of texts whose windows cannot be found in them.
    """
    positions = rated.positions[rows]
    own = pa.concat_tables(rows_at(corpus / "train", positions, _COLUMNS, rated.file_sizes))
    for name in _COLUMNS:
        if name not in own.column_names:
            own = own.append_column(name, pa.nulls(len(own)))
    texts: list[str | None] = own[TEXT].to_pylist()
    count = len(rows)
    clusters = [None] * count
    if topics is not None:
        codes = topics.codes(text or "" for text in texts)
        names = rated.groups[CLUSTER].names
        clusters = [names[code] for code in codes.tolist()]
    columns: dict[str, Any] = {
        "id": pa.array(rated.ids[rows]),
        "document_id": own["document_id"].cast(pa.string()),
        "position": own["position"].cast(pa.int32()),
        "domain": pa.array(_labels(rated, DOMAIN, rows), pa.string()),
        "cluster": pa.array(clusters, pa.string()),
        "length": pa.array(rated.lengths[rows], pa.int32()),
        "text": pa.array(texts, pa.string()),
        "sampled": pa.array(is_sampled),
    }
    for criterion, values in rated.ratings.items():
        columns[f"rating.{criterion}"] = pa.array(values[rows], pa.float32())
        columns[f"percentile.{criterion}"] = pa.array(_percentiles(values, rows), pa.float32(), from_pandas=True)
    lengths, windows = _windows(rated, positions)
    columns |= windows
    unknown = 0
    if lengths is not None and any(text is not None for text in texts):
        ends = _window_ends(corpus, texts, lengths)
        unknown = sum(end is None for end in ends)
        columns["window_ends"] = pa.array(ends, pa.list_(pa.int32()))
    columns |= {f"kept.{name}": pa.array(mask[rows]) for name, mask in subsets.items()}
    columns |= {f"column.{name}": pa.array(_labels(rated, name, rows), pa.string()) for name in label_columns}
    return pa.table(columns), unknown


_COLUMNS = ("document_id", "position", TEXT)


def _labels(rated: Rated, grouping: str, rows: Counts) -> list[str]:
    groups = rated.groups[grouping]
    return [groups.names[code] for code in groups.codes[rows].tolist()]


def _percentiles(values: npt.NDArray[np.float64], rows: Counts) -> npt.NDArray[np.float64]:
    """Share of the other finite ratings below, ties by half, in percent; NaN without a rating."""
    ranked = np.sort(values[np.isfinite(values)])
    own = values[rows]
    below = np.searchsorted(ranked, own, side="left")
    equal = np.searchsorted(ranked, own, side="right") - below - 1
    percent = 100 * (below + equal / 2) / max(1, len(ranked) - 1)
    return np.where(np.isfinite(own), percent, np.nan)


def _windows(rated: Rated, positions: Counts) -> tuple[list[list[int]] | None, dict[str, pa.Array]]:
    """The lengths of the windows of sequences in tokens; the columns of the ratings of these windows.

    Of artifacts with different windows, those with most windows.
    """
    tables = []
    for folder in dict.fromkeys(source.ratings for source in rated.sources.values()):
        own = {name: source.criterion for name, source in rated.sources.items() if source.ratings == folder}
        wanted = ["chunk_lengths", *(f"{name}_chunks" for name in own.values())]
        table = pa.concat_tables(rows_at(folder / "train", positions, wanted, rated.file_sizes))
        if "chunk_lengths" in table.column_names:
            tables.append((table["chunk_lengths"].to_pylist(), table, own))
    if not tables:
        return None, {}
    lengths = max((each for each, *_ in tables), key=lambda each: sum(map(len, each)))
    columns: dict[str, pa.Array] = {}
    for each, table, own in tables:
        for criterion, name in own.items():
            if each == lengths and f"{name}_chunks" in table.column_names:
                column = table[f"{name}_chunks"].combine_chunks().cast(pa.list_(pa.float32()))
                columns[f"windows.{criterion}"] = column
    return lengths, columns


def _window_ends(corpus: Path, texts: Sequence[str | None], lengths: Sequence[Sequence[int]]) -> list[list[int] | None]:
    """Where the windows of each text end, in characters; None where that is unknown.

    The end of a single window is that of the text. Others are found with the tokenizer of the corpus, if it gives as
    many tokens as the windows have; a tokenizer for which most texts differ is not that of the rater.
    """
    single = [
        [len(text)] if text is not None and len(own) == 1 else None for text, own in zip(texts, lengths, strict=True)
    ]
    several = [place for place, own in enumerate(lengths) if len(own) > 1 and texts[place] is not None]
    if not several or not (corpus / "tokenizer" / "tokenizer.json").is_file():
        return single
    tokenizer = tokenizing.load(corpus / "tokenizer").tokenizer
    found: dict[int, list[int]] = {}
    for place in several:
        text, own = texts[place] or "", np.cumsum(lengths[place])
        _, ends = tokenizing.encode(tokenizer, text)
        if len(ends) == own[-1]:
            found[place] = [*ends[own[:-1] - 1].tolist(), len(text)]
    if 2 * len(found) < len(several):
        return single
    return [found.get(place, end) for place, end in enumerate(single)]
