"""Sequences of a corpus that an index names, read shard by shard, so that the corpus may exceed the memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from qurating.artifacts.files import row_files
from qurating.runtime.errors import StageError
from qurating.runtime.workers import ahead

_ROWS_AT_ONCE = 1024
_BUFFER_BYTES = 2**18


def read_sequences(corpus: Path, index: pa.Table, columns: Sequence[str]) -> pa.Table:
    """Columns of the training sequences that an index names, in the order of the index.

    Args:
        corpus: a corpus artifact; of its `train` shards, only those that the index names are opened.
        index: `shard`, `row` (integers, from 0) and `id` (int64) of each sequence, as a subset, a proxy set and an
            annotation have them. A sequence may occur twice. Other columns are ignored.
        columns: of the corpus, such as `input_ids`, `text`.

    Returns:
        one row per row of the index, with `columns` in the given order, each in one chunk. Only these rows and the
        columns of one shard are in memory.

    Raises:
        StageError: the index is of another corpus: it names a shard or row that this one does not have, or the id of
            another row.
    """
    made = "the index was made from"
    files = row_files(corpus / "train")
    ids, shard, row = (index[name].to_numpy() for name in ("id", "shard", "row"))
    if len(shard) and (shard.min() < 0 or shard.max() >= len(files)):
        raise another_corpus(made, corpus, f"it names shard {shard.max()}, and there are {len(files)}")
    # shard by shard, and back into the index's order at the end
    by_shard = np.argsort(shard, kind="stable")
    numbers, starts = np.unique(shard[by_shard], return_index=True)
    wanted = list(dict.fromkeys(["id", *columns]))
    parts = [pq.read_schema(files[0]).empty_table().select(wanted)]
    for number, mine in zip(numbers.tolist(), np.split(by_shard, starts[1:]), strict=False):
        file = files[number]
        there = pq.read_table(file, columns=wanted)
        if row[mine].min() < 0 or row[mine].max() >= len(there):
            raise another_corpus(
                made, corpus, f"{file.name} has {len(there):,} rows, and it names row {row[mine].max()}"
            )
        found = there.take(pa.array(row[mine]))
        strange = np.flatnonzero(found["id"].to_numpy() != ids[mine])
        if len(strange):
            first = mine[strange[0]]
            raise another_corpus(
                made,
                corpus,
                f"row {row[first]} of {file.name} is not the sequence {ids[first]} that it names there "
                f"({len(strange):,} of {len(mine):,} differ)",
            )
        parts.append(found)
    back = np.empty(len(ids), np.int64)
    back[by_shard] = np.arange(len(ids))
    return pa.concat_tables(parts).take(pa.array(back)).select(list(columns)).combine_chunks()


class Found(NamedTuple):
    """Sequences of a subset in a batch of a shard: their rows in the batch, (n,), and their positions in the index."""

    file: Path
    batch: pa.RecordBatch
    rows: npt.NDArray[np.int64]
    places: slice


def find_subset(corpus: Path, index: pa.Table, columns: Sequence[str], rows_at_once: int) -> Iterator[Found]:
    """The sequences of a subset in corpus order, batch by batch; shards without any are not opened.

    Args:
        corpus: a corpus artifact; a thread reads its `train` shards ahead, a batch at a time.
        index: `id`, `shard` and `row` of each sequence, in corpus order.
        columns: of the corpus, besides `id`.
        rows_at_once: per batch.

    Raises:
        StageError: the subset was selected from another corpus.
    """
    made = "the subset was selected from"
    files = row_files(corpus / "train")
    ids, shard, row = (index[name].to_numpy() for name in ("id", "shard", "row"))
    bounds = np.searchsorted(shard, np.arange(len(files) + 1)).tolist()
    if bounds[-1] < len(ids):
        raise another_corpus(made, corpus, f"it names shard {shard[-1]}, and there are {len(files)}")
    for file, first, last in zip(files, bounds[:-1], bounds[1:], strict=True):
        if first == last:
            continue
        own, before = row[first:last], 0  # rows of this shard; number of its rows read so far
        for batch in ahead(_batches(file, ["id", *columns], rows_at_once), 2):
            start, end = np.searchsorted(own, (before, before + len(batch))).tolist()
            rows, places = own[start:end] - before, slice(first + start, first + end)
            before += len(batch)
            if not np.array_equal(batch.column("id").to_numpy()[rows], ids[places]):
                raise another_corpus(made, corpus, f"other ids in {file.name}")
            yield Found(file, batch, rows, places)
        if before <= own[-1]:
            raise another_corpus(made, corpus, f"{file.name} is shorter")


def texts_of_subset(corpus: Path, index: pa.Table) -> Iterator[list[str]]:
    """The texts of a subset, in batches, in the corpus order of its index; raises as `find_subset`."""
    for found in find_subset(corpus, index, ["text"], _ROWS_AT_ONCE):
        yield found.batch.column("text").take(pa.array(found.rows)).to_pylist()


def one_row(file: Path, row: int, columns: list[str]) -> dict[str, Any]:
    """One row of a Parquet file; reads only its row group."""
    with pq.ParquetFile(file) as parquet:
        for group in range(parquet.num_row_groups):
            num_rows = parquet.metadata.row_group(group).num_rows
            if row < num_rows:
                return dict(parquet.read_row_group(group, columns=columns).slice(row, 1).to_pylist()[0])
            row -= num_rows
    raise IndexError(f"{file} has no such row")


def another_corpus(made: str, corpus: Path, found: str) -> StageError:
    """The error for an artifact that belongs to another corpus.

    Args:
        made: the artifact and its origin, such as "the subset was selected from".
        corpus: the corpus that it does not belong to.
        found: the evidence.
    """
    return StageError(f"{made} another corpus than {corpus}: {found}")


def _batches(file: Path, columns: Sequence[str], rows_at_once: int) -> Iterator[pa.RecordBatch]:
    # with a small buffer: else whole columns of a row group are read
    with pq.ParquetFile(file, pre_buffer=False, buffer_size=_BUFFER_BYTES) as parquet:
        yield from parquet.iter_batches(rows_at_once, columns=list(columns), use_threads=False)
