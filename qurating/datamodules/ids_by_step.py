"""Which sequences each optimizer step of a language model reads."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qurating.artifacts.files import parquet_format, replacing

SCHEMA = pa.schema({"step": pa.int64(), "id": pa.string(), "tokens": pa.int64()})


def ids_by_step(order: Path, tokens_per_step: int) -> Iterator[pa.Table]:
    """Rows of `step` (from 1), `id` of a sequence and the number of its `tokens` that the step reads, as they are read.

    Args:
        order: folder of the order artifact; `order.parquet` is read row group by row group.
        tokens_per_step: blocks per optimizer step times tokens per block.
    """
    with pq.ParquetFile(order / "order.parquet") as file:
        for batch in file.iter_batches(columns=["id", "offset", "length"]):
            start = batch["offset"].to_numpy()
            end = start + batch["length"].to_numpy()
            first = start // tokens_per_step
            # a sequence without tokens is read by no step
            num_steps = np.where(end > start, (end - 1) // tokens_per_step - first + 1, 0)
            row = np.repeat(np.arange(len(start)), num_steps)
            step = first[row] + np.arange(len(row)) - np.repeat(np.cumsum(num_steps) - num_steps, num_steps)
            tokens = np.minimum(end[row], (step + 1) * tokens_per_step) - np.maximum(start[row], step * tokens_per_step)
            ids = batch["id"].cast(pa.string()).take(pa.array(row))
            yield pa.table([pa.array(step + 1), ids, pa.array(tokens)], schema=SCHEMA)


def write_ids_by_step(order: Path, tokens_per_step: int, path: Path) -> None:
    """Write all rows of `ids_by_step` as Parquet, atomically."""
    with replacing(path) as temporary, pq.ParquetWriter(temporary, SCHEMA, **parquet_format(SCHEMA)) as writer:
        for table in ids_by_step(order, tokens_per_step):
            writer.write_table(table)
