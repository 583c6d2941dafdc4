"""Select sequences of a corpus by their ratings: the index of the subset, not yet its text."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qurating.artifacts import StageError, row_files, seed_for, write_table
from qurating.rating_shards import check_fresh


def select(
    *,
    output: Path,
    corpus: Path,
    ratings: Path | None,
    rule: Callable[..., np.ndarray],
    criterion: str | list[str] | None,
    by_domain: bool,
    label: str,
    seed: int,
) -> dict[str, Any]:
    """Write `subset.parquet`: `id`, `shard`, `row`, `length`, `domain`, `score` of what is chosen, in corpus order.

    Args:
        corpus: whose training shards are chosen from; only `id`, `length` and `domain` are read.
        ratings: of that corpus; None selects without them (uniform).
        rule: (scores, lengths, domains, ids, seed) -> indices, one of `qurating.selection`.
        criterion: whose ratings count; several for a mix.
        by_domain: share the budget out in proportion to each domain's tokens.
        label: what tables call this selection.

    Raises:
        StageError: ratings of another corpus, or of shards that were changed since, or that lack the criterion, or a
            budget that is not to be had.
    """
    files = row_files(corpus / "train")
    shards = [pq.read_table(file, columns=["id", "length", "domain"]) for file in files]
    table = pa.concat_tables(shards)
    ids, lengths = table["id"].to_numpy(), table["length"].to_numpy()
    domains = table["domain"].to_numpy(zero_copy_only=False)
    scores: Any = np.zeros(len(ids))
    if ratings is not None and criterion is not None:
        check_fresh(corpus, ratings)
        named = [criterion] if isinstance(criterion, str) else list(criterion)
        rated = read_ratings(ratings, ids, named)
        scores = rated[criterion] if isinstance(criterion, str) else rated
    try:
        chosen = rule(
            scores, lengths, domains=domains if by_domain else None, ids=ids, seed=seed_for(seed, "select", "noise")
        )
    except ValueError as error:
        raise StageError(f"{corpus.name}: {error}") from error
    # a mix has no one score
    has_score = ratings is not None and isinstance(scores, np.ndarray)
    shard = np.repeat(np.arange(len(shards)), [len(part) for part in shards])
    row = np.concatenate([np.arange(len(part)) for part in shards])
    subset = pa.table(
        {
            "id": ids[chosen],
            "shard": pa.array(shard[chosen], pa.int32()),
            "row": pa.array(row[chosen], pa.int32()),
            "length": pa.array(lengths[chosen], pa.int32()),
            "domain": pa.array(domains[chosen], pa.string()),
            "score": pa.array(scores[chosen]) if has_score else pa.nulls(len(chosen), pa.float64()),
        }
    )
    write_table(output / "subset.parquet", subset)
    return {
        "sequences": len(chosen),
        "tokens": int(lengths[chosen].sum()),
        "corpus_tokens": int(lengths.sum()),
        "method": label,
    }


def read_ratings(ratings: Path, ids: np.ndarray, criteria: list[str]) -> dict[str, np.ndarray]:
    """The rating of each sequence by each criterion, float64 in the order of `ids`.

    Raises:
        StageError: the ratings are not of these sequences, or lack a criterion (says which there are).
    """
    files = row_files(ratings / "train")
    there = [name.removesuffix("_average") for name in pq.read_schema(files[0]).names if name.endswith("_average")]
    absent = [name for name in criteria if name not in there]
    if absent:
        raise StageError(f"{ratings} has no ratings by {', '.join(absent)}; there are {', '.join(there)}")
    columns = ["id", *(f"{name}_average" for name in criteria)]
    table = pa.concat_tables([pq.read_table(file, columns=columns) for file in files])
    if not np.array_equal(table["id"].to_numpy(), ids):
        raise StageError(
            f"{ratings} holds ratings of another corpus: {len(table):,} ids against {len(ids):,}, or others"
        )
    return {name: table[f"{name}_average"].to_numpy() for name in criteria}
