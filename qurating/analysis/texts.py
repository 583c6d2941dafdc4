"""Texts of some sequences of a corpus, read shard by shard."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qurating.analysis.rated import Counts
from qurating.artifacts.files import row_files

_ROWS_AT_ONCE = 1024
TEXT = "text"


def has_text(corpus: Path) -> bool:
    """Whether the shards of a corpus have the column `text`."""
    return TEXT in pq.read_schema(row_files(corpus / "train")[0]).names


def rows_at(folder: Path, positions: Counts, columns: Sequence[str], file_sizes: Sequence[int]) -> Iterator[pa.Table]:
    """`id` and some columns of the rows at ascending positions over all shards, in order and in parts.

    Args:
        folder: with the shards, whose numbers of rows are `file_sizes`; those without such a row stay closed.
        columns: those that the shards do not have are left out.
    """
    bounds = np.concatenate([[0], np.cumsum(file_sizes)])
    for number, file in enumerate(row_files(folder)):
        first, last = np.searchsorted(positions, bounds[number : number + 2]).tolist()
        if first == last:
            continue
        own = positions[first:last] - bounds[number]
        there = ["id", *(name for name in columns if name in pq.read_schema(file).names)]
        with pq.ParquetFile(file, pre_buffer=False) as parquet:
            before = 0
            for batch in parquet.iter_batches(_ROWS_AT_ONCE, columns=there, use_threads=False):
                start, end = np.searchsorted(own, (before, before + len(batch))).tolist()
                if start < end:
                    yield pa.table(batch.take(pa.array(own[start:end] - before)))
                before += len(batch)


def texts_at(corpus: Path, positions: Counts, file_sizes: Sequence[int]) -> Iterator[str]:
    """The texts at ascending positions; null is an empty text."""
    for table in rows_at(corpus / "train", positions, [TEXT], file_sizes):
        yield from (text or "" for text in table[TEXT].to_pylist())
