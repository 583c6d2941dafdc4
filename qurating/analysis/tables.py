"""Tidy tables on disk: Parquet with what they were made from, and CSV."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.csv

from qurating.artifacts.files import replacing, write_table

KEY = b"qurating"
CLUSTERS = pa.schema([("cluster", pa.string()), ("top_terms", pa.string()), ("num", pa.int64())])


def write(output: Path, name: str, table: pa.Table, sampling: Mapping[str, str]) -> None:
    """Write `tables/<name>.parquet`, whose metadata `qurating` is the sampling as JSON, and `tables/<name>.csv`."""
    found = table.replace_schema_metadata({KEY: json.dumps({"sampling": dict(sampling)})})
    write_table(output / "tables" / f"{name}.parquet", found)
    with replacing(output / "tables" / f"{name}.csv") as temporary:
        pyarrow.csv.write_csv(table, temporary)


def from_rows(rows: Sequence[Sequence[object]], schema: pa.Schema) -> pa.Table:
    """A small table from its rows, values in the order of the schema; None is null."""
    return pa.Table.from_pylist([dict(zip(schema.names, row, strict=True)) for row in rows], schema)
