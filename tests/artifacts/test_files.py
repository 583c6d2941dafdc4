"""Files are written atomically."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qurating.artifacts.files import read_json, write_json, write_table


def test_files_are_replaced_whole(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_json(tmp_path / "a.json", {"σ": float("1.5")})
    assert read_json(tmp_path / "a.json") == {"σ": 1.5}

    def full(*_: Any, **__: Any) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(json, "dumps", full)
    with pytest.raises(OSError, match="No space"):
        write_json(tmp_path / "a.json", {})
    monkeypatch.undo()
    assert read_json(tmp_path / "a.json") == {"σ": 1.5}
    write_table(tmp_path / "new" / "t.parquet", pa.table({"a": [1]}))
    assert [file.name for file in tmp_path.rglob("*") if file.is_file()] == ["a.json", "t.parquet"]


def test_text_is_packed_tightly_and_numbers_are_quick_to_read(tmp_path: Path) -> None:
    table = pa.table(
        {
            "id": [1, 2, 3],
            "text": ["a", None, "a"],
            "tokens": pa.array([[1, 2], None, []], pa.list_(pa.int32())),
            "meta": [{"words": ["x", "y"], "score": 1.0}, {"words": None, "score": None}, None],
            "pair": pa.array([[[1.0]], [], None], pa.list_(pa.list_(pa.float64()))),
        }
    )
    write_table(tmp_path / "x.parquet", table)
    assert pq.read_table(tmp_path / "x.parquet").equals(table)
    group = pq.read_metadata(tmp_path / "x.parquet").row_group(0)
    columns = {column.path_in_schema: column for column in map(group.column, range(group.num_columns))}
    packed = {path for path, column in columns.items() if column.compression == "ZSTD"}
    assert packed == {"text", "meta.words.list.element"}
    assert {column.compression for column in columns.values()} == {"ZSTD", "LZ4"}
    assert not columns["id"].has_dictionary_page
