"""Lay down the order in which a language model sees a subset, and write its tokens in that order."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tokenizers import Tokenizer
from tqdm import tqdm

from qurating.artifacts.files import row_files, write_table
from qurating.artifacts.seeds import seed_for
from qurating.corpus.sequences import read_sequences
from qurating.rating.shards import check_fresh
from qurating.runtime.errors import StageError
from qurating.runtime.workers import ahead
from qurating.selection import ordering
from qurating.selection.corpus_rows import check_column, check_criteria

METHODS = ("shuffle", "sorting", "folding", "curriculum")
_ROWS_AT_ONCE = 2**14
_BUFFER_BYTES = 2**18
_SHORT = 256  # tokens a sequence


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
) -> dict[str, Any]:
    """Write `order.parquet` (`id`, `offset`, `length`; a row's place is its turn) and `tokens.npy`, the token stream.

    Args:
        ratings: that the order goes by; None for `shuffle`, or with a column.
        method: shuffle, sorting, folding or curriculum.
        criterion: column of the ratings; None for `shuffle`, or with a column.
        column: of the corpus, numbers, to go by in the place of ratings.
        num_folds: L of folding.
        temperature: τ of a curriculum.
        descending: from the highest score down; of a curriculum: most likely drawn first.

    Raises:
        StageError: an unknown method, or one that needs ratings without them; ratings or a column that are not there,
            are of another corpus, or are no numbers; a subset of another corpus.
    """
    if method not in METHODS:
        raise StageError(f"there is no ordering {method!r}; there are {', '.join(METHODS)}")
    index = pq.read_table(subset / "subset.parquet", columns=["id", "shard", "row", "length"])
    ids, lengths = index["id"].to_numpy(), index["length"].to_numpy().astype(np.int64)
    own_seed = seed_for(seed, "order", method)
    try:
        if method == "shuffle":
            permutation = ordering.shuffle(ids, own_seed)
        else:
            scores = _scores(corpus, ratings, criterion, column, method, index)
            if method == "sorting":
                permutation = ordering.sort(scores, ids, descending)
            elif method == "folding":
                permutation = ordering.fold(scores, num_folds, ids, descending)
            else:
                permutation = ordering.curriculum(scores, ids, temperature, own_seed, descending)
    except ValueError as error:
        raise StageError(f"{subset.name}, ordering by {method}: {error}") from error
    offsets = np.empty(len(ids), np.int64)
    offsets[permutation] = np.cumsum(lengths[permutation]) - lengths[permutation]
    columns = {"id": ids[permutation], "offset": offsets[permutation], "length": lengths[permutation].astype(np.int32)}
    write_table(output / "order.parquet", pa.table(columns))
    num_tokens = _write_tokens(output / "tokens.npy", corpus, index, offsets, int(lengths.sum()))
    return {"sequences": len(ids), "tokens": num_tokens, "order_sha256": ordering.digest(ids[permutation])}


def _scores(
    corpus: Path, ratings: Path | None, criterion: str | None, column: str | None, method: str, index: pa.Table
) -> np.ndarray:
    """What the chosen sequences are ordered by, float64."""
    if column is not None:
        check_column(row_files(corpus / "train")[0], column)
        found = read_sequences(corpus, index, [column])[column]
        if not (pa.types.is_integer(found.type) or pa.types.is_floating(found.type)):
            raise StageError(f"{corpus}: the column {column} holds {found.type}: sequences are ordered by numbers")
    elif ratings is None or criterion is None:
        raise StageError(
            f"ordering by {method!r} needs ratings: set ordering.criterion and ordering.ratings, or ordering.column"
        )
    else:
        check_fresh(corpus, ratings)
        check_criteria(row_files(ratings / "train")[0], [criterion])
        found = read_sequences(ratings, index, [f"{criterion}_average"])[f"{criterion}_average"]
    return np.asarray(found.to_numpy(zero_copy_only=False), dtype=np.float64)


def _write_tokens(path: Path, corpus: Path, index: pa.Table, offsets: np.ndarray, num_tokens: int) -> int:
    """Copy the tokens of each sequence to its offset, shard by shard; returns how many they are."""
    vocabulary_size = Tokenizer.from_file(str(corpus / "tokenizer/tokenizer.json")).get_vocab_size()
    dtype = np.uint16 if vocabulary_size <= 2**16 else np.uint32
    mapped = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(num_tokens,))
    stream = mapped.view(np.ndarray)  # slices of a memmap are slow to make
    ids, shard, row = (index[name].to_numpy() for name in ("id", "shard", "row"))
    lengths = index["length"].to_numpy()
    files = row_files(corpus / "train")
    bounds = np.searchsorted(shard, np.arange(len(files) + 1)).tolist()  # an index is in corpus order
    if bounds[-1] < len(ids):
        raise StageError(
            f"the subset was selected from another corpus than {corpus}, which has {len(files)} shards only"
        )
    with tqdm(total=num_tokens, desc="tokens in order", unit="token", unit_scale=True, mininterval=0.5) as progress:
        for file, first, last in zip(files, bounds[:-1], bounds[1:], strict=True):
            mine, before = slice(first, last), 0  # rows of this shard; rows of it that are read
            places, own = row[mine], offsets[mine]
            for batch in ahead(_batches(file), 2) if last > first else ():
                here = slice(*np.searchsorted(places, (before, before + len(batch))).tolist())
                rows = places[here] - before
                before += len(batch)
                sequences = batch.column("input_ids")
                starts, ends = sequences.offsets.to_numpy()[rows], sequences.offsets.to_numpy()[rows + 1]
                if not np.array_equal(batch.column("id").to_numpy()[rows], ids[mine][here]):
                    raise StageError(
                        f"the subset was selected from another corpus than {corpus}: other ids in {file.name}"
                    )
                if not np.array_equal(ends - starts, lengths[mine][here]):
                    raise StageError(f"{file}: lengths differ from those of input_ids: the corpus was changed")
                _copy(stream, own[here], sequences.values.to_numpy(), starts, ends)
                progress.update(int((ends - starts).sum()))
            if last > first and before <= places[-1]:
                raise StageError(f"the subset was selected from another corpus than {corpus}: {file.name} is shorter")
    mapped.flush()
    return num_tokens


def _copy(stream: np.ndarray, targets: np.ndarray, tokens: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
    """Copy tokens[start:end] to each target: one by one, or short ones by their indices, all at once."""
    lengths = (ends - starts).astype(np.int64)
    total = int(lengths.sum())
    if total > _SHORT * len(lengths):
        for target, start, end in zip(targets.tolist(), starts.tolist(), ends.tolist(), strict=True):
            stream[target : target + end - start] = tokens[start:end]
        return
    before = np.cumsum(lengths) - lengths
    running = np.arange(total)
    stream[np.repeat(targets - before, lengths) + running] = tokens[np.repeat(starts - before, lengths) + running]


def _batches(file: Path) -> Iterator[pa.RecordBatch]:
    # through a small buffer: else each column of a row group is read whole
    with pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER_BYTES) as parquet:
        yield from parquet.iter_batches(_ROWS_AT_ONCE, columns=["id", "input_ids"], use_threads=False)
