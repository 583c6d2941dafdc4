"""Lay down the order in which a language model sees a subset, and write its tokens in that order."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm
from transformers import AutoTokenizer

from qurating import ordering
from qurating.artifacts import StageError, row_files, seed_for, write_table
from qurating.stages.select import read_ratings


def order(
    *,
    output: Path,
    corpus: Path,
    subset: Path,
    ratings: Path | None,
    method: str,
    criterion: str | None,
    num_folds: int,
    temperature: float,
    descending: bool,
    seed: int,
) -> dict[str, Any]:
    """Write `order.parquet` (`id`, `offset`, `length`; a row's place is its turn) and `tokens.npy`, the token stream.

    Args:
        ratings: that the order goes by; None for `shuffle`.
        method: shuffle, sorting, folding or curriculum.
        criterion: column of the ratings; None for `shuffle`.
        num_folds: L of folding.
        temperature: τ of a curriculum.
        descending: of sorting and curriculum.

    Raises:
        StageError: an unknown method, or one that needs ratings without them.
    """
    chosen = pq.read_table(subset / "subset.parquet", columns=["id", "shard", "row", "length"])
    ids, shard, row = (chosen[name].to_numpy() for name in ("id", "shard", "row"))
    lengths = chosen["length"].to_numpy().astype(np.int64)
    files = row_files(corpus / "train")
    own_seed = seed_for(seed, "order", method)
    if method == "shuffle":
        permutation = ordering.shuffle(ids, own_seed)
    elif ratings is None or criterion is None:
        raise StageError(f"ordering by {method!r} needs ratings: set ordering.criterion and ordering.ratings")
    else:
        scores = _scores(files, ratings, criterion, shard, row)
        bad = np.flatnonzero(~np.isfinite(scores))
        if len(bad):
            raise StageError(f"{ratings}: {len(bad):,} ratings are NaN or infinite, the first of id {ids[bad[0]]}")
        if num_folds < 1 or temperature < 0:
            raise StageError(f"num_folds must be 1 or more, not {num_folds}; temperature 0 or more, not {temperature}")
        if method == "sorting":
            permutation = ordering.sort(scores, ids, descending)
        elif method == "folding":
            permutation = ordering.fold(scores, num_folds)
        elif method == "curriculum":
            permutation = ordering.curriculum(scores, ids, temperature, own_seed, descending)
        else:
            raise StageError(f"there is no ordering {method!r}; there are shuffle, sorting, folding, curriculum")
    ends = np.cumsum(lengths[permutation])
    offsets = ends - lengths[permutation]
    columns = {"id": ids[permutation], "offset": offsets, "length": pa.array(lengths[permutation], pa.int32())}
    write_table(output / "order.parquet", pa.table(columns))
    offset_of = np.empty(len(ids), np.int64)
    offset_of[permutation] = offsets
    # the model's embedding has room for added tokens too: len counts them, vocab_size does not
    wide = len(AutoTokenizer.from_pretrained(corpus / "tokenizer")) > 2**16
    stream = np.lib.format.open_memmap(
        output / "tokens.npy", mode="w+", dtype=np.uint32 if wide else np.uint16, shape=(int(lengths.sum()),)
    )
    for number, file in enumerate(tqdm(files, desc="tokens in order", unit="shard", mininterval=0.5)):
        mine = np.flatnonzero(shard == number)
        rows = pq.read_table(file, columns=["id", "input_ids"]).take(pa.array(row[mine]))
        if not np.array_equal(rows["id"].to_numpy(), ids[mine]):
            raise StageError(f"{subset} was selected from another corpus than {corpus}: {file.name} holds other ids")
        sequences = rows["input_ids"]
        for position, sequence in zip(offset_of[mine], sequences, strict=True):
            values = sequence.values.to_numpy()
            stream[position : position + len(values)] = values
    stream.flush()
    return {"sequences": len(ids), "tokens": len(stream), "order_sha256": ordering.digest(ids[permutation])}


def _scores(files: list[Path], ratings: Path, criterion: str, shard: np.ndarray, row: np.ndarray) -> np.ndarray:
    """The ratings of the chosen rows."""
    ids = [pq.read_table(file, columns=["id"])["id"].to_numpy() for file in files]
    starts = np.cumsum([0, *map(len, ids)])
    return read_ratings(ratings, np.concatenate(ids), [criterion])[criterion][starts[shard] + row]
