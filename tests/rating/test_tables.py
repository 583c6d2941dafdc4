"""Tables of ratings: what is read of them, and the rows that cannot be used."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qurating.corpus.hashing import as_ids
from qurating.rating.tables import Layout, layout_of, place_of, rows_of
from qurating.runtime.errors import StageError

NAN = float("nan")


def file_of(folder: Path, ending: str, **columns: Any) -> Path:
    path = folder / f"s.{ending}"
    if ending == "parquet":
        pq.write_table(pa.table(columns), path)
    else:
        rows = [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
        path.write_text("".join(json.dumps(row) + "\n\n" for row in rows), encoding="utf-8")
    return path


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
@pytest.mark.parametrize(
    ("columns", "expected"),
    [
        ({"id": [1], "s": [0.5], "url": ["u"]}, Layout("id", False, {"s": "s"}, False, ["url"])),
        ({"id": ["x"], "n": [3], "ok": [True]}, Layout("id", True, {"n": "n"}, False, ["ok"])),
        ({"document_id": [7], "length": [9], "s": [0.5]}, Layout("document_id", True, {"s": "s"}, False, ["length"])),
        ({"document_id": ["x"], "id": [1], "s": [0.5]}, Layout("id", False, {"s": "s"}, False, ["document_id"])),
        ({"document_id": ["x"], "id": ["y"], "s": [1]}, Layout("document_id", True, {"s": "s"}, False, ["id"])),
        ({"s": [0.5]}, Layout(None, True, {"s": "s"}, False, [])),
        ({"index": [3], "c_average": [0.5]}, Layout(None, True, {"c": "c_average"}, False, ["index"])),
        (
            {"chunk_lengths": [[3, 2]], "c_average": [0.5], "c_chunks": [[0.5, 1.0]], "input_ids": [[1, 2]]},
            Layout(None, True, {"c": "c_average"}, True, ["input_ids"]),
        ),
        (
            {"chunk_lengths": [[3]], "c_average": [0.5], "c_chunks": [[1.0]], "d_average": [0.5]},
            Layout(None, True, {"c": "c_average", "d": "d_average"}, False, ["chunk_lengths", "c_chunks"]),
        ),
    ],
)
def test_what_is_read(tmp_path: Path, ending: str, columns: dict[str, Any], expected: Layout) -> None:
    assert layout_of(file_of(tmp_path, ending, **columns)) == expected


def test_columns_may_be_named(tmp_path: Path) -> None:
    file = file_of(tmp_path, "parquet", key=[1], a_average=[0.5], b=[1], c=["x"])
    assert layout_of(file, ["b"], "key") == Layout("key", True, {"b": "b"}, False, ["a_average", "c"])
    for columns, field, message in (
        (["d"], None, r"has no column d; it has key .number., a_average .number., b .number., c .text."),
        (None, "name", "has no column name"),
        (["c"], None, "ratings are numbers, and c is text"),
        (["a_average", "a"], None, "has no column a;"),
    ):
        with pytest.raises(StageError, match=message):
            layout_of(file, columns, field)
    with pytest.raises(StageError, match=r"has no column of ratings; it has id .text., x .text."):
        layout_of(file_of(tmp_path, "jsonl", id=["a"], x=["b"]))
    with pytest.raises(StageError, match="has two columns for one criterion"):
        layout_of(file_of(tmp_path, "jsonl", a=[1], a_average=[2]), ["a", "a_average"])
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(StageError, match="has no row"):
        layout_of(tmp_path / "empty.jsonl")


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_keys(tmp_path: Path, ending: str) -> None:
    ids = [2**62, -5, 0]
    file = file_of(tmp_path, ending, id=ids, s=[1.0, 2.0, 3.0])
    (rated,) = rows_of(file, "s", layout_of(file))
    assert rated.keys.view(np.int64).tolist() == ids
    assert rated.first == str(2**62)
    assert rated.values.tolist() == [[1.0], [2.0], [3.0]]
    for given, names in ((["a", "数"], ["a", "数"]), ([7, 2**60], ["7", str(2**60)]), ([7.0, 8.0], ["7", "8"])):
        file = file_of(tmp_path, ending, document_id=given, s=[1.0, 2.0])
        (rated,) = rows_of(file, "s", layout_of(file))
        assert rated.keys.tolist() == as_ids(np.array(names, object)).tolist()
    file = file_of(tmp_path, ending, s=[1.0, 2.0])
    (rated,) = rows_of(file, "part/s", layout_of(file))
    places = ["part/s:0", "part/s:1"] if ending == "parquet" else ["part/s:1", "part/s:3"]
    assert rated.keys.tolist() == as_ids(np.array(places, object)).tolist()


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"s": [1.0, None]}, "s is missing, null or NaN"),
        ({"s": [1.0, NAN]}, "s is missing, null or NaN"),
        ({"s": [1.0, 2.0], "t": [1.0, -float("inf")]}, "t is infinite"),
        ({"document_id": ["a", None], "s": [1.0, 2.0]}, "document_id'? (is|holds) null"),
        ({"document_id": [1.0, 1.5], "s": [1.0, 2.0]}, r"document_id' holds 1\.5, not a name"),
        ({"chunk_lengths": [[3], [3]], "c_average": [1.0, 1.0], "c_chunks": [[1.0], [1.0, 2.0]]}, "2 c_chunks for 1"),
        ({"chunk_lengths": [[3], [3]], "c_average": [1.0, 1.0], "c_chunks": [[1.0], [NAN]]}, "_chunks with a value"),
    ],
)
def test_rows_that_cannot_be_used(tmp_path: Path, ending: str, columns: dict[str, Any], message: str) -> None:
    file = file_of(tmp_path, ending, **columns)
    place = "row 1" if ending == "parquet" else "line 3"
    with pytest.raises(StageError, match=rf"s\.{ending}, {place}: .*{message}"):
        list(rows_of(file, "s", layout_of(file)))


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"id": 5, "s": "2"}', "line 2: s holds a value of type str, and numbers in the first rows"),
        ('{"id": 5, "s": true}', "line 2: s holds a value of type bool"),
        ('{"id": 5}', "line 2: s is missing"),
        ('{"s": 1}', "line 2: id holds null: no id of a sequence"),
        ('{"id": 5.0, "s": 1}', "line 2: id holds a value of type float: no id of a sequence"),
        ('{"id": 9223372036854775808, "s": 1}', "line 2: id holds 9223372036854775808: no id of a sequence"),
        ('{"id": 5, "s": 1' + "0" * 400 + "}", "line 2: s is infinite"),
        ("[1]", "line 2: holds a value of type list, not a record"),
        ('{"id": 5, "s"', "line 2: not JSON"),
    ],
)
def test_lines_that_cannot_be_used(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "s.jsonl").write_text('{"id": 4, "s": 0.5}\n')
    layout = layout_of(tmp_path / "s.jsonl")
    (tmp_path / "s.jsonl").write_text(f'{{"id": 4, "s": 0.5}}\n{line}\n')
    with pytest.raises(StageError, match=message):
        list(rows_of(tmp_path / "s.jsonl", "s", layout))


def test_other_files_than_the_first(tmp_path: Path) -> None:
    layout = Layout("id", False, {"s": "s"}, False, [])
    with pytest.raises(StageError, match=r"s\.parquet has no column s, which the first file has"):
        list(rows_of(file_of(tmp_path, "parquet", id=[1], t=[2.0]), "s", layout))
    with pytest.raises(StageError, match="s holds string, and numbers in the first file"):
        list(rows_of(file_of(tmp_path, "parquet", id=[1], s=["x"]), "s", layout))
    with pytest.raises(StageError, match="id holds string: ids of sequences are whole numbers"):
        list(rows_of(file_of(tmp_path, "parquet", id=["x"], s=[1.0]), "s", layout))
    (tmp_path / "s.parquet").write_bytes(b"PAR1 cut")
    with pytest.raises(StageError, match=r"s\.parquet.*damaged"):
        list(rows_of(tmp_path / "s.parquet", "s", layout))
    with pytest.raises(StageError, match="cannot be read as Parquet"):
        layout_of(tmp_path / "s.parquet")


def test_places_count_as_people_do(tmp_path: Path) -> None:
    assert place_of(file_of(tmp_path, "parquet", s=[1, 2]), 1).endswith("s.parquet, row 1")
    assert place_of(file_of(tmp_path, "jsonl", s=[1, 2]), 1).endswith("s.jsonl, line 3")
