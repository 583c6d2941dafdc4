"""The sampled sequences as JSON: offsets, budget, order, what is missing."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qurating.reports.rated import documents
from qurating.runtime.errors import StageError


def write(folder: Path, texts: list[str | None], **more: Any) -> None:
    number = len(texts)
    columns: dict[str, Any] = {
        "id": pa.array(np.arange(number) + 2**62, pa.int64()),
        "document_id": [f"d{row}" for row in range(number)],
        "position": pa.array([0] * number, pa.int32()),
        "domain": ["web"] * number,
        "cluster": pa.array([None] * number, pa.string()),
        "length": pa.array([3] * number, pa.int32()),
        "text": pa.array(texts, pa.string()),
    }
    pq.write_table(pa.table(columns | more), folder / "documents.parquet")


@pytest.mark.parametrize("text", ["plain text", "a\U0001f600b\U0001f601c", "é\uffff", ""])
def test_offsets_are_in_units_of_javascript(text: str) -> None:
    def units(part: str) -> int:
        return len(part.encode("utf-16-le")) // 2

    offsets = [*range(len(text) + 1), len(text) + 5]
    assert documents.utf16_offsets(text, offsets) == [units(text[:offset]) for offset in offsets]


def test_all_columns_of_a_row(tmp_path: Path) -> None:
    write(
        tmp_path,
        ["ab\U0001f600cd", None],
        sampled=[True, False],
        **{
            "rating.c": pa.array([0.123456789, None], pa.float32()),
            "percentile.c": pa.array([12.345, float("nan")], pa.float32()),
            "windows.c": pa.array([[0.5, float("nan")], None], pa.list_(pa.float32())),
            "window_ends": pa.array([[3, 5], None], pa.list_(pa.int32())),
            "kept.one": [False, True],
            "kept.two": [True, True],
            "column.lang": pa.array(["en", None], pa.string()),
        },
    )
    found = documents.read(tmp_path, budget=10_000)
    assert (found.criteria, found.subsets, found.columns) == (["c"], ["one", "two"], ["lang"])
    assert (found.num_shown, found.num_given, found.num_without_text, found.num_besides) == (2, 2, 1, 1)
    first, second = json.loads(found.rows)
    assert first == {
        "id": str(2**62), "document_id": "d0", "position": 0, "domain": "web", "cluster": None, "length": 3,
        "ratings": [0.12346], "percentiles": [12.3], "windows": [[0.5, None]], "ends": [4, 6], "kept": [1],
        "labels": ["en"], "characters": 5,
    }  # fmt: skip
    assert (second["ratings"], second["percentiles"], second["windows"], second["ends"]) == ([None], [None], [[]], None)
    assert json.loads(found.texts) == ["ab\U0001f600cd", None]


def test_a_line_of_a_megabyte_is_cut(tmp_path: Path) -> None:
    write(tmp_path, ["x" * 1_000_000, "short"], window_ends=pa.array([[500_000, 1_000_000], [5]], pa.list_(pa.int32())))
    found = documents.read(tmp_path, budget=100_000)
    assert [len(text) for text in json.loads(found.texts)] == [documents.MAX_CHARACTERS, 5]
    assert found.num_cut == 1
    row = json.loads(found.rows)[0]
    assert row["characters"] == 1_000_000
    assert row["ends"] == [documents.MAX_CHARACTERS] * 2


def test_as_many_as_fit_are_taken_at_random_and_kept_in_order(tmp_path: Path) -> None:
    write(tmp_path, [f"{'é<' * 200}{row}" for row in range(300)])
    found = documents.read(tmp_path, budget=100_000, first=[str(2**62 + 250)])
    used = len(found.rows.encode()) + len(found.texts.encode())
    assert 98_000 < used <= 100_000
    ids = [int(row["id"]) - 2**62 for row in json.loads(found.rows)]
    assert ids == sorted(ids)
    assert 250 in ids
    assert len(ids) == found.num_shown < 100
    assert 100 < np.mean(ids) < 200  # not the beginning of the file


def test_extremes_take_at_most_half_of_the_budget(tmp_path: Path) -> None:
    write(tmp_path, ["x" * 1_000] * 200, sampled=[row >= 100 for row in range(200)])
    found = documents.read(tmp_path, budget=60_000)
    assert 15 < found.num_besides < 35
    assert found.num_shown - found.num_besides > 10


def test_a_table_without_text_and_one_without_ids(tmp_path: Path) -> None:
    write(tmp_path, ["a"])
    table = pq.read_table(tmp_path / "documents.parquet")
    pq.write_table(table.drop(["text"]), tmp_path / "documents.parquet")
    found = documents.read(tmp_path, budget=10_000)
    assert (found.texts, found.num_without_text) == ("[null]", 1)
    pq.write_table(table.drop(["id"]), tmp_path / "documents.parquet")
    with pytest.raises(StageError, match="no column id"):
        documents.read(tmp_path, budget=10_000)
