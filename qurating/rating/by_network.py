"""Ratings of a corpus by a network: one shard of ratings for each shard of the corpus."""

import contextlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq
from torch import nn
from tqdm import tqdm

from qurating.artifacts.files import write_table
from qurating.corpus.token_reader import TokenReader
from qurating.corpus.windows import weighted_means, window_lengths
from qurating.rating import shards
from qurating.rating.engine import Engine
from qurating.runtime.errors import StageError
from qurating.runtime.malloc import keep_freed_memory
from qurating.runtime.shares import Share
from qurating.runtime.workers import ahead


def rate_with_network(
    *,
    output: Path,
    corpus: Path,
    reader: TokenReader,
    network: Callable[[], nn.Module],
    fingerprint: str,
    engine: Callable[..., Engine],
    criteria: list[str],
    max_tokens: int,
    num_workers: int,
    share: Share | None,
    description: str,
) -> dict[str, Any] | None:
    """Write one shard of ratings for each training shard of the corpus, row for row; finished shards are skipped.

    Columns: `id`, `length` (as in the corpus), `chunk_lengths`, and for each criterion `<c>_chunks` (the rating of each
    window) and `<c>_average` (their mean, weighted by the lengths of the windows). Returns as
    `shards.rate_unfinished_shards`.

    Args:
        network: returns the network, see `qurating.models.rating_networks`; called only if a shard has to be rated.
        fingerprint: of the network.
        engine: `Engine` with its device, precision and compilation; called with the network and the window settings.
        criteria: names of the outputs of the network.
        max_tokens: of a window.
        num_workers: processes that tokenise, if the network has another tokenizer than the corpus.
        share: the shards to rate here; None: all.
        description: text of the progress bar.

    Raises:
        StageError: a rating is not a number; a shard of ratings belongs to no shard of the corpus.
    """

    def rate(files: Sequence[Path], progress: tqdm) -> None:
        made = engine(network(), max_tokens=max_tokens, pad_token_id=reader.pad_token_id)
        with keep_freed_memory(made.device):
            _rate_shards(files, output / "train", reader, made, fingerprint, criteria, num_workers, progress)

    return shards.rate_unfinished_shards(
        output=output,
        corpus=corpus,
        rate=rate,
        network=fingerprint,
        share=share,
        description=description,
        criteria=criteria,
    )


def _rate_shards(
    files: Sequence[Path],
    folder: Path,
    reader: TokenReader,
    engine: Engine,
    fingerprint: str,
    criteria: list[str],
    num_workers: int,
    progress: tqdm,
) -> None:
    """Rate these shards of a corpus; while one is rated, the next is read and the previous one is written."""
    tables: dict[Path, pa.Table] = {}
    provenance: dict[Path, dict[str, Any]] = {}

    def read() -> Iterator[pa.Table]:
        for file in files:
            provenance[file] = shards.provenance_of(file, fingerprint)
            table = pq.read_table(file, columns=["id", reader.column, "length"])
            tables[file] = table.select(["id", "length"])
            yield table

    rows_left = progress.total
    with ThreadPoolExecutor(1) as writer, contextlib.closing(ahead(reader.read(read(), num_workers), 1)) as tokens:
        written: Future[None] | None = None
        for file, (input_ids, lengths) in zip(files, tokens, strict=True):
            table, origin = tables.pop(file), provenance.pop(file)
            rows_left -= len(table)
            per_row = max(1.0, len(input_ids) / max(1, len(table)))
            of_windows, num_windows = window_lengths(lengths, engine.max_tokens)
            before = progress.n

            def done(num_tokens: int, per_row: float = per_row) -> None:
                progress.update(num_tokens / per_row)

            ratings = engine.rate(input_ids, of_windows, done, tokens_to_come=rows_left * per_row)
            rated = _ratings_table(table, of_windows, num_windows, ratings, criteria, file)
            if written is not None:
                written.result()
            rated = rated.replace_schema_metadata({shards.KEY: json.dumps(origin)})
            written = writer.submit(write_table, folder / file.name, rated)
            progress.update(before + len(table) - progress.n)
        if written is not None:
            written.result()


def _ratings_table(
    corpus: pa.Table,
    lengths: npt.NDArray[np.int64],
    num_windows: npt.NDArray[np.int64],
    ratings: npt.NDArray[np.float32],
    criteria: list[str],
    file: Path,
) -> pa.Table:
    """The ratings of one shard from the ratings of its windows, (W, C)."""
    ratings = ratings.reshape(len(lengths), len(criteria))
    averages = weighted_means(ratings, lengths, num_windows)
    broken = np.flatnonzero(~np.isfinite(averages).all(axis=1))
    if len(broken):
        named = ", ".join(str(corpus["id"][i]) for i in broken[:5])
        raise StageError(
            f"{file}: the ratings of {len(broken):,} of {len(corpus):,} sequences are not numbers (NaN or infinite; id "
            f"{named}{', ...' if len(broken) > 5 else ''}): the network's weights are broken, or overflow in this "
            "precision"
        )
    offsets = pa.array(np.concatenate([[0], np.cumsum(num_windows)]), pa.int32())
    columns: dict[str, Any] = {
        "id": corpus["id"],
        "length": corpus["length"],
        "chunk_lengths": pa.ListArray.from_arrays(offsets, pa.array(lengths, pa.int32())),
    }
    for c, name in enumerate(criteria):
        columns[f"{name}_chunks"] = pa.ListArray.from_arrays(offsets, pa.array(ratings[:, c], pa.float32()))
        columns[f"{name}_average"] = averages[:, c]
    return pa.table(columns)
