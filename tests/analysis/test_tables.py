"""Tables on disk."""

import csv
import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from qurating.analysis.tables import KEY, from_rows, write

SCHEMA = pa.schema([("name", pa.string()), ("value", pa.float64())])


def test_both_files_have_the_rows_and_one_the_sampling(tmp_path: Path) -> None:
    rows = [('a, "quoted"\nline', 0.5), ("b", None)]
    write(tmp_path, "t", from_rows(rows, SCHEMA), {"sequences": "every 2nd sequence"})
    table = pq.read_table(tmp_path / "tables/t.parquet")
    assert [tuple(row.values()) for row in table.to_pylist()] == rows
    assert json.loads(table.schema.metadata[KEY]) == {"sampling": {"sequences": "every 2nd sequence"}}
    with open(tmp_path / "tables/t.csv", newline="", encoding="utf-8") as stream:
        assert list(csv.reader(stream)) == [["name", "value"], ['a, "quoted"\nline', "0.5"], ["b", ""]]


def test_a_table_without_rows_has_its_columns(tmp_path: Path) -> None:
    write(tmp_path, "t", from_rows([], SCHEMA), {})
    assert pq.read_table(tmp_path / "tables/t.parquet").column_names == ["name", "value"]
