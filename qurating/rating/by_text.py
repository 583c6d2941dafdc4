"""Ratings of a corpus by a function of the text: one shard of ratings for each shard of the corpus."""

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


def rate_with_function(
    *,
    output: Path,
    corpus: Path,
    function: Callable[[Sequence[str]], npt.NDArray[np.float64]],
    fingerprint: str,
    name: str,
    num_workers: int,
    share: Share | None,
    description: str,
) -> dict[str, Any] | None:
    """Write `<name>_average` of each sequence, and the other columns of ratings; each sequence is one window.

    Args:
        function: returns the ratings (N,) of N texts; it is sent to other processes.
        fingerprint: of `function` and its settings.
        name: of the rating.
        num_workers: processes that rate.
        share, description: as for `by_network.rate_with_network`, and so is the return value.

    Raises:
        StageError: a rating is not a number; a shard of ratings belongs to no shard of the corpus.
    """
    provenance: dict[Path, dict[str, Any]] = {}

    def texts(files: Sequence[Path]) -> Iterator[list[str]]:
        for file in files:
            provenance[file] = shards.provenance_of(file, fingerprint)
            yield from batches_of_texts(file)

    def rate(files: Sequence[Path], progress: tqdm) -> None:
        with contextlib.closing(in_workers(function, texts(files), num_workers)) as parts:
            for file in files:
                rows = pq.read_table(file, columns=["id", "length"])
                ratings, count = np.empty(len(rows)), 0
                while count < len(rows):  # no part spans two shards
                    part = next(parts)
                    ratings[count : count + len(part)] = part
                    count += len(part)
                    progress.update(len(part))
                table = _ratings_table(rows, ratings, name, file)
                origin = provenance.get(file) or shards.provenance_of(file, fingerprint)
                table = table.replace_schema_metadata({shards.KEY: json.dumps(origin)})
                write_table(output / "train" / file.name, table)

    return shards.rate_unfinished_shards(
        output=output,
        corpus=corpus,
        rate=rate,
        network=fingerprint,
        share=share,
        description=description,
        criteria=[name],
    )


def batches_of_texts(file: Path) -> Iterator[list[str]]:
    """The texts of a corpus shard, in batches."""
    with pq.ParquetFile(file, pre_buffer=False, buffer_size=2**18) as parquet:
        for batch in parquet.iter_batches(_TEXTS_AT_ONCE, columns=["text"], use_threads=False):
            yield batch.column("text").to_pylist()


def _ratings_table(rows: pa.Table, ratings: npt.NDArray[np.float64], name: str, file: Path) -> pa.Table:
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
