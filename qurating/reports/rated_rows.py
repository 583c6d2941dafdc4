"""A sample of ratings or scores joined with their corpus, for distributions, correlations and excerpts."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from qurating.artifacts.files import row_files
from qurating.corpus.sequences import one_row
from qurating.metrics.ranks import ranks
from qurating.runtime.errors import StageError
from qurating.selection.statistics import normalise


@dataclass(frozen=True)
class RatedRows:
    """Evenly spaced sequences of a corpus. Each array has shape (n,); `shard` and `row` locate a sequence.

    `ratings` are normalised to zero mean and unit standard deviation over these rows, `raw` are not. `num_rows` is the
    number of sequences in the corpus.
    """

    ids: npt.NDArray[np.int64]
    domains: npt.NDArray[np.object_]
    lengths: npt.NDArray[np.int64]
    shard: npt.NDArray[np.int64]
    row: npt.NDArray[np.int64]
    ratings: Mapping[str, npt.NDArray[np.float64]]
    raw: Mapping[str, npt.NDArray[np.float64]]
    num_rows: int


def read_rated_rows(corpus: Path, ratings: Path, max_rows: int) -> RatedRows:
    """Read every k-th row, with the smallest k that gives at most `max_rows`.

    Raises:
        StageError: the shards of the ratings do not match those of the corpus row by row.
    """
    texts, rated = row_files(corpus / "train"), row_files(ratings / "train")
    counts = [pq.read_metadata(file).num_rows for file in texts]
    if [file.name for file in texts] != [file.name for file in rated] or counts != [
        pq.read_metadata(file).num_rows for file in rated
    ]:
        raise StageError(f"{ratings} does not match {corpus}: their shards differ")
    criteria = [name.removesuffix("_average") for name in pq.read_schema(rated[0]).names if name.endswith("_average")]
    stride = max(1, -(-sum(counts) // max_rows))
    parts: dict[str, list[npt.NDArray[Any]]] = {
        key: [] for key in ("id", "domain", "length", "shard", "row", *criteria)
    }
    before = 0
    for number, (text_file, rated_file, count) in enumerate(zip(texts, rated, counts, strict=True)):
        rows = np.arange(-before % stride, count, stride)
        before += count
        texts_table = pq.read_table(text_file, columns=["id", "domain"]).take(rows)
        table = pq.read_table(rated_file, columns=["id", "length", *(f"{c}_average" for c in criteria)]).take(rows)
        if not texts_table["id"].equals(table["id"]):
            raise StageError(f"{rated_file} does not match {text_file}: their ids differ")
        parts["id"].append(table["id"].to_numpy())
        parts["domain"].append(texts_table["domain"].to_numpy(zero_copy_only=False))
        parts["length"].append(table["length"].to_numpy().astype(np.int64))
        parts["shard"].append(np.full(len(rows), number))
        parts["row"].append(rows)
        for name in criteria:
            parts[name].append(table[f"{name}_average"].to_numpy().astype(np.float64))
    columns = {key: np.concatenate(values) for key, values in parts.items()}
    raw = {name: columns[name] for name in criteria}
    return RatedRows(
        ids=columns["id"],
        domains=columns["domain"],
        lengths=columns["length"],
        shard=columns["shard"],
        row=columns["row"],
        ratings={name: normalise(values) for name, values in raw.items()},
        raw=raw,
        num_rows=sum(counts),
    )


def rank_correlations(columns: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.float64]:
    """Spearman's ρ between every two columns, (C, C); NaN for a constant column."""
    ranked = np.stack([ranks(values) for values in columns.values()])
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.atleast_2d(np.corrcoef(ranked))


def excerpts(
    corpus: Path, rows: RatedRows, criterion: str, percentiles: Sequence[int], max_characters: int
) -> list[dict[str, Any]]:
    """The sequence at each percentile of the ratings by a criterion, with the beginning of its text.

    Keys: percentile, rating (normalised), raw, domain, document_id, position, length, text, is_cut.
    """
    ranked = np.argsort(rows.ratings[criterion], kind="stable")
    files = row_files(corpus / "train")
    found = []
    for percentile in percentiles:
        index = int(ranked[round(percentile / 100 * (len(ranked) - 1))])
        sequence = one_row(files[rows.shard[index]], int(rows.row[index]), ["text", "document_id", "position"])
        text = str(sequence["text"])
        found.append(
            {
                "percentile": percentile,
                "rating": float(rows.ratings[criterion][index]),
                "raw": float(rows.raw[criterion][index]),
                "domain": str(rows.domains[index]),
                "length": int(rows.lengths[index]),
                "document_id": str(sequence["document_id"]),
                "position": int(sequence["position"]),
                "text": text[:max_characters],
                "is_cut": len(text) > max_characters,
            }
        )
    return found
