"""Put a subset into the order in which a language model sees it, and write its tokens in that order."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from qurating.artifacts.files import row_files
from qurating.artifacts.seeds import seed_for
from qurating.corpus.sequences import read_sequences
from qurating.rating.shards import check_fresh
from qurating.runtime.errors import StageError
from qurating.selection import ordering
from qurating.selection.corpus_rows import check_column, check_criteria
from qurating.selection.statistics import CONSTANT, is_equal
from qurating.selection.token_stream import write_in_order

METHODS = ("shuffle", "sorting", "folding", "curriculum")


def order(
    *,
    output: Path,
    corpus: Path,
    subset: Path,
    ratings: Path | None,
    method: str,
    criterion: str | None,
    column: str | None,
    num_folds: int,
    temperature: float,
    descending: bool,
    seed: int,
    window: int | None = None,
) -> dict[str, Any]:
    """Write `order.parquet` (`id`, `offset`, `length`; in training order) and `tokens.npy`, the token stream.

    Args:
        ratings: that give the order; None for `shuffle`, or with a column.
        method: shuffle, sorting, folding or curriculum.
        criterion: of the ratings; None for `shuffle`, or with a column.
        column: of the corpus, numbers; gives the order instead of ratings.
        num_folds: L of folding.
        temperature: τ of a curriculum.
        descending: from the highest score down; for a curriculum: most likely drawn first.
        window: of folding: shuffle each run of so many sequences within a layer; None: do not.

    If all scores are equal, a warning says so, and this artifact and all later ones have the label `constant scores`.

    Raises:
        StageError: an unknown method, or one that needs ratings without them; a window with a method other than
            folding; ratings or a column that do not exist, are of another corpus, or are not numbers; a subset of
            another corpus.
    """
    if method not in METHODS:
        raise StageError(f"unknown ordering {method!r}: use {', '.join(METHODS)}")
    if window is not None and method != "folding":
        raise StageError(f"ordering.window is for folding, not for {method}; folding with one fold is sorting")
    index = pq.read_table(subset / "subset.parquet", columns=["id", "shard", "row", "length"])
    ids = index["id"].to_numpy()
    is_constant = False
    own_seed = seed_for(seed, "order", method)
    try:
        if method == "shuffle":
            permutation = ordering.shuffle(ids, own_seed)
        else:
            scores = _scores(corpus, ratings, criterion, column, method, index)
            if method == "sorting":
                permutation = ordering.sort(scores, ids, descending)
            elif method == "folding":
                permutation = ordering.fold(scores, num_folds, ids, descending, window, own_seed)
            else:
                permutation = ordering.curriculum(scores, ids, temperature, own_seed, descending)
            is_constant = len(scores) > 1 and bool(is_equal(scores, scores[0]).all())
    except ValueError as error:
        raise StageError(f"{subset.name}, ordering by {method}: {error}") from error
    num_tokens = write_in_order(output, corpus, index, permutation)
    counts = {"sequences": len(ids), "tokens": num_tokens, "order_sha256": ordering.digest(ids[permutation])}
    if is_constant:
        tqdm.write(f"    warning: all scores are equal: the order by {method} is one by ids or noise")
    return counts | ({"labels": [CONSTANT]} if is_constant else {})


def _scores(
    corpus: Path, ratings: Path | None, criterion: str | None, column: str | None, method: str, index: pa.Table
) -> np.ndarray:
    """The scores of the selected sequences, float64."""
    if column is not None:
        check_column(row_files(corpus / "train")[0], column)
        found = read_sequences(corpus, index, [column])[column]
        if not (pa.types.is_integer(found.type) or pa.types.is_floating(found.type)):
            raise StageError(
                f"{corpus}: the column {column} holds {found.type}: sequences are ordered by numbers. A field is kept "
                f"as one if corpus.keep_columns has {column}:number"
            )
        if found.null_count:
            raise StageError(f"{corpus}: {found.null_count:,} of {len(found):,} sequences have no value in {column}")
    elif ratings is None or criterion is None:
        raise StageError(
            f"ordering by {method!r} needs ratings: set ordering.criterion and ordering.ratings, or ordering.column"
        )
    else:
        check_fresh(corpus, ratings)
        check_criteria(row_files(ratings / "train")[0], [criterion])
        found = read_sequences(ratings, index, [f"{criterion}_average"])[f"{criterion}_average"]
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.float64)
