"""Ratings or scores beside their corpus: what distributions, correlations and excerpts are made from."""

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
    """Evenly spaced sequences of a corpus, n of each; `shard` and `row` say where a sequence lies.

    `ratings` are normalised to zero mean and unit deviation over these rows, `raw` are as the rater gave them.
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
    """Read every k-th row, with k the least that leaves at most `max_rows`.

    Raises:
        StageError: shards that do not stand row for row beside the corpus'.
    """
    texts, rated = row_files(corpus / "train"), row_files(ratings / "train")
    counts = [pq.read_metadata(file).num_rows for file in texts]
    if [file.name for file in texts] != [file.name for file in rated] or counts != [
        pq.read_metadata(file).num_rows for file in rated
    ]:
        raise StageError(f"{ratings} does not hold the ratings of {corpus}: their shards differ")
    criteria = [name.removesuffix("_average") for name in pq.read_schema(rated[0]).names if name.endswith("_average")]
    stride = max(1, -(-sum(counts) // max_rows))
    parts: dict[str, list[npt.NDArray[Any]]] = {
        key: [] for key in ("id", "domain", "length", "shard", "row", *criteria)
    }
    before = 0
    for number, (text_file, rated_file, count) in enumerate(zip(texts, rated, counts, strict=True)):
        rows = np.arange(-before % stride, count, stride)
        before += count
        beside = pq.read_table(text_file, columns=["id", "domain"]).take(rows)
        table = pq.read_table(rated_file, columns=["id", "length", *(f"{c}_average" for c in criteria)]).take(rows)
        if not beside["id"].equals(table["id"]):
            raise StageError(f"{rated_file} does not hold the ratings of {text_file}: their ids differ")
        parts["id"].append(table["id"].to_numpy())
        parts["domain"].append(beside["domain"].to_numpy(zero_copy_only=False))
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
    """The sequence at each percentile of a criterion's ratings, with the beginning of its text.

    Keys: percentile, rating (normalised), raw, domain, document_id, position, length, text, is_cut.
    """
    ranked = np.argsort(rows.ratings[criterion], kind="stable")
    files = row_files(corpus / "train")
    found = []
    for percentile in percentiles:
        index = int(ranked[round(percentile / 100 * (len(ranked) - 1))])
        there = one_row(files[rows.shard[index]], int(rows.row[index]), ["text", "document_id", "position"])
        text = str(there["text"])
        found.append(
            {
                "percentile": percentile,
                "rating": float(rows.ratings[criterion][index]),
                "raw": float(rows.raw[criterion][index]),
                "domain": str(rows.domains[index]),
                "length": int(rows.lengths[index]),
                "document_id": str(there["document_id"]),
                "position": int(there["position"]),
                "text": text[:max_characters],
                "is_cut": len(text) > max_characters,
            }
        )
    return found
