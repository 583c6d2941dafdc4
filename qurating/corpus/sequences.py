"""Sequences of a corpus that an index names: one shard at a time, so that the corpus may be larger than the memory."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qurating.artifacts.files import row_files
from qurating.runtime.errors import StageError

_ROWS_AT_ONCE = 1024


def read_sequences(corpus: Path, index: pa.Table, columns: Sequence[str]) -> pa.Table:
    """Columns of the training sequences that an index names, in its order.

    Args:
        corpus: a corpus artifact; its `train` shards are read, those that the index does not name are not opened.
        index: `shard`, `row` (integers, from 0) and `id` (int64) of each sequence; a subset, a proxy set or an
            annotation has them. A sequence may be named twice. Other columns are passed over.
        columns: of the corpus, such as `input_ids`, `text`.

    Returns:
        as many rows as the index has, with `columns` in the order given, each in one chunk. Only these rows are held,
        beside one shard's columns.

    Raises:
        StageError: the index names a shard or row that the corpus does not have, or an id that lies elsewhere: it is
            of another corpus.
    """
    files = row_files(corpus / "train")
    ids, shard, row = (index[name].to_numpy() for name in ("id", "shard", "row"))
    if len(shard) and (shard.min() < 0 or shard.max() >= len(files)):
        raise StageError(f"{_other(corpus)}: it names shard {shard.max()}, and there are {len(files)}")
    # shard by shard, and back into the index's order at the end
    by_shard = np.argsort(shard, kind="stable")
    numbers, starts = np.unique(shard[by_shard], return_index=True)
    wanted = list(dict.fromkeys(["id", *columns]))
    parts = [pq.read_schema(files[0]).empty_table().select(wanted)]
    for number, mine in zip(numbers.tolist(), np.split(by_shard, starts[1:]), strict=False):
        file = files[number]
        there = pq.read_table(file, columns=wanted)
        if row[mine].min() < 0 or row[mine].max() >= len(there):
            raise StageError(
                f"{_other(corpus)}: {file.name} has {len(there):,} rows, and it names row {row[mine].max()}"
            )
        found = there.take(pa.array(row[mine]))
        strange = np.flatnonzero(found["id"].to_numpy() != ids[mine])
        if len(strange):
            first = mine[strange[0]]
            raise StageError(
                f"{_other(corpus)}: row {row[first]} of {file.name} is not the sequence {ids[first]} that it names "
                f"there ({len(strange):,} of {len(mine):,} differ)"
            )
        parts.append(found)
    back = np.empty(len(ids), np.int64)
    back[by_shard] = np.arange(len(ids))
    return pa.concat_tables(parts).take(pa.array(back)).select(list(columns)).combine_chunks()


def texts_of_subset(corpus: Path, index: pa.Table) -> Iterator[list[str]]:
    """The texts of a subset in its order, some at a time, from an index in corpus order (`id`, `shard`, `row`).

    Raises StageError if the index is of another corpus.
    """
    shard, row, ids = (index[name].to_numpy() for name in ("shard", "row", "id"))
    num_read = 0
    for number, file in enumerate(row_files(corpus / "train")):
        rows, own = row[shard == number], ids[shard == number]
        before = 0
        with pq.ParquetFile(file, pre_buffer=False, buffer_size=2**18) as parquet:
            for batch in parquet.iter_batches(_ROWS_AT_ONCE, columns=["id", "text"], use_threads=False):
                here = slice(*np.searchsorted(rows, (before, before + len(batch))).tolist())
                chosen = batch.take(pa.array(rows[here] - before))
                if not np.array_equal(chosen.column("id").to_numpy(), own[here]):
                    raise StageError(f"the subset was selected from another corpus: other ids in {file}")
                yield chosen.column("text").to_pylist()
                num_read += len(chosen)
                before += len(batch)
    if num_read < len(index):
        raise StageError(f"the subset was selected from another corpus: it names sequences that {corpus} has not")


def one_row(file: Path, row: int, columns: list[str]) -> dict[str, Any]:
    """One row of a Parquet file; reads the row group it lies in, not the file."""
    with pq.ParquetFile(file) as parquet:
        for group in range(parquet.num_row_groups):
            num_rows = parquet.metadata.row_group(group).num_rows
            if row < num_rows:
                return dict(parquet.read_row_group(group, columns=columns).slice(row, 1).to_pylist()[0])
            row -= num_rows
    raise IndexError(f"{file} has no such row")


def _other(corpus: Path) -> str:
    return f"the index was made of another corpus than {corpus}"
