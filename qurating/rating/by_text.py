"""Ratings that come from a text as it reads, without a network: a shard of them beside each shard of the corpus."""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from qurating.artifacts.files import write_table
from qurating.rating import shards
from qurating.runtime.errors import StageError
from qurating.runtime.shares import Share
from qurating.runtime.workers import in_workers

_TEXTS_AT_ONCE = 1000


def rate_texts(
    *,
    output: Path,
    corpus: Path,
    of_texts: Callable[[Sequence[str]], npt.NDArray[np.float64]],
    made_by: str,
    name: str,
    num_workers: int,
    share: Share | None,
    doing: str,
) -> dict[str, Any] | None:
    """Write `<name>_average` of each sequence, and the other columns of ratings: the sequence is its one window.

    Args:
        of_texts: the ratings (N,) of N texts; it is sent to other processes.
        made_by: a fingerprint of what `of_texts` goes by.
        name: of the rating.
        num_workers: processes that rate.
        share, doing: as of `rating.rate_corpus`, and so is what is returned.

    Raises:
        StageError: a rating that is not a number; a shard that belongs to no shard of the corpus.
    """

    origins: dict[Path, dict[str, Any]] = {}

    def texts(files: Sequence[Path]) -> Iterator[list[str]]:
        for file in files:
            origins[file] = shards.made_of(file, made_by)
            yield from texts_of(file)

    def rate(files: Sequence[Path], progress: tqdm) -> None:
        with contextlib.closing(in_workers(of_texts, texts(files), num_workers)) as parts:
            for file in files:
                rows = pq.read_table(file, columns=["id", "length"])
                ratings, count = np.empty(len(rows)), 0
                while count < len(rows):  # no part is of two shards
                    part = next(parts)
                    ratings[count : count + len(part)] = part
                    count += len(part)
                    progress.update(len(part))
                table = _table(rows, ratings, name, file)
                origin = {shards.KEY: json.dumps(origins.get(file) or shards.made_of(file, made_by))}
                write_table(output / "train" / file.name, table.replace_schema_metadata(origin))

    return shards.by_shards(
        output=output, corpus=corpus, rate=rate, network=made_by, share=share, doing=doing, criteria=[name]
    )


def texts_of(file: Path) -> Iterator[list[str]]:
    """The texts of a shard of a corpus, some at a time."""
    with pq.ParquetFile(file, pre_buffer=False, buffer_size=2**18) as parquet:
        for batch in parquet.iter_batches(_TEXTS_AT_ONCE, columns=["text"], use_threads=False):
            yield batch.column("text").to_pylist()


def _table(rows: pa.Table, ratings: npt.NDArray[np.float64], name: str, file: Path) -> pa.Table:
    if len(broken := np.flatnonzero(~np.isfinite(ratings))):
        raise StageError(
            f"{file}: the ratings of {len(broken):,} of {len(rows):,} sequences are not numbers (the first: id "
            f"{rows['id'][int(broken[0])]})"
        )
    offsets = pa.array(np.arange(len(rows) + 1), pa.int32())
    lengths = rows["length"].combine_chunks().cast(pa.int32())
    return pa.table(
        {
            "id": rows["id"],
            "length": rows["length"],
            "chunk_lengths": pa.ListArray.from_arrays(offsets, lengths),
            f"{name}_chunks": pa.ListArray.from_arrays(offsets, pa.array(ratings)),
            f"{name}_average": ratings,
        }
    )
