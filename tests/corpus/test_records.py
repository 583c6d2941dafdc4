"""Rows of JSON lines, and fields of rows."""

import datetime
import decimal
from pathlib import Path
from typing import Any

import pytest
from compression_example import ENDINGS, written

from qurating.corpus.records import (
    BLANK,
    BadRowError,
    Column,
    NoFieldError,
    columns_of,
    json_rows,
    lookup,
    name_in,
    parsed,
    text_in,
    value_in,
    whole,
)
from qurating.runtime.errors import StageError


@pytest.mark.parametrize("ending", ENDINGS)
def test_marks_line_ends_and_blank_lines(tmp_path: Path, ending: str) -> None:
    content = b'\xef\xbb\xbf{"a": 1}\r\n\r\n \t\n"\xe2\x80\xa8"\n{"a"\n\xff\nnull\n[NaN]'
    rows = list(json_rows(written(tmp_path / f"a.jsonl{ending}", content)))
    assert [number for number, _ in rows] == [1, 4, 5, 6, 7, 8]
    assert [row for _, row in rows[:2]] == [{"a": 1}, "\u2028"]
    assert [str(row) for _, row in rows[2:4]] == [
        "not JSON (Expecting ':' delimiter at character 5)",
        "not UTF-8 (invalid start byte at byte 0 of the line)",
    ]
    assert rows[4][1] is None
    assert rows[5][1][0] != rows[5][1][0]  # pandas and Python write NaN


def test_a_byte_order_mark_opens_a_file_and_no_other_line() -> None:
    assert parsed(b"\xef\xbb\xbf", 1) is parsed(b"  \r", 2) is BLANK
    with pytest.raises(BadRowError, match="not JSON"):
        parsed(b"\xef\xbb\xbf1", 2)


def test_a_field_with_dots_in_its_name_comes_before_fields_in_fields() -> None:
    row = {"a.b": 1, "a": {"b": 2, "c": {"d": 3}}}
    assert [lookup(row, name) for name in ("a.b", "a.c.d")] == [1, 3]
    for name, message in (
        ("x", "no field 'x' .found the fields a.b, a"),
        ("a.c.x", "looking for 'x', found the fields d"),
    ):
        with pytest.raises(BadRowError, match=message):
            lookup(row, name)
    with pytest.raises(BadRowError, match="holds a value of type list, not a record"):
        lookup([1], "x")


@pytest.mark.parametrize(
    ("value", "name"), [("x", "x"), (7, "7"), (1.0, "1"), (-2.0, "-2"), (0, "0"), (2**70, str(2**70))]
)
def test_names_and_whole_numbers(value: Any, name: str) -> None:
    assert name_in({"id": value}, "id") == name


@pytest.mark.parametrize(
    ("value", "reason"),
    [
        (float("nan"), "holds NaN, which stands for a missing value"),
        (float("inf"), "holds inf, not a name or a whole number"),
        (1.5, r"holds 1\.5, not a name or a whole number"),
        (2.0**53, "floats of this size cannot tell numbers apart"),
        (None, "holds null"),
        (True, "holds a value of type bool"),
        ("", "holds nothing"),
        ([1], "holds a value of type list"),
        ("\ud83d", "half of a surrogate pair"),
    ],
)
def test_what_is_no_name(value: Any, reason: str) -> None:
    with pytest.raises(BadRowError, match=reason):
        name_in({"id": value}, "id")


def test_texts() -> None:
    assert text_in({"a": {"b": "🎉"}}, "a.b") == whole("🎉") == "🎉"
    for value, kind in (
        (None, "null"),
        (float("nan"), "NaN, which stands for a missing value"),
        ([], "a value of type"),
    ):
        with pytest.raises(BadRowError, match=f"field 'a' holds {kind}.*, not text"):
            text_in({"a": value}, "a")
    with pytest.raises(BadRowError, match=r"half of a surrogate pair, '\\ud83d'"):
        text_in({"a": "x\ud83d"}, "a")


def test_entries_of_columns() -> None:
    assert columns_of(None, []) == columns_of([], []) == []
    assert columns_of("lang", ["text"]) == [Column("lang")]
    assert columns_of(["meta.url?", "score:number", "a:b:number?"], ["text"]) == [
        Column("meta.url", is_optional=True),
        Column("score", is_number=True),
        Column("a:b", is_number=True, is_optional=True),
    ]


@pytest.mark.parametrize(
    ("entries", "message"),
    [
        (["lang", "text"], "has 'text', and every corpus has a column 'text'"),
        (["text:number"], "every corpus has a column 'text'"),
        (["lang", "lang:number?"], "names 'lang' twice"),
        ([""], "has '': an entry is the name of a field"),
        ([":number"], "an entry is the name of a field"),
        ([3], "has 3: an entry is the name of a field"),
    ],
)
def test_entries_that_name_no_column_of_their_own(entries: Any, message: str) -> None:
    with pytest.raises(StageError, match=f"corpus.keep_columns {message}|corpus.keep_columns .*{message}"):
        columns_of(entries, ["id", "text"])


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("", ""),
        ("数\x00", "数\x00"),
        (7, "7"),
        (7.0, "7"),
        (0.25, "0.25"),
        (True, "true"),
        (2**70, str(2**70)),
        (decimal.Decimal("1.50"), "1.50"),
        (datetime.datetime(2024, 5, 1, 12), "2024-05-01T12:00:00"),
        (datetime.date(2024, 5, 1), "2024-05-01"),
        (None, None),
        (float("nan"), None),
    ],
)
def test_values_as_text(value: Any, text: str | None) -> None:
    assert value_in({"meta": {"x": value}}, Column("meta.x")) == text


def test_values_as_numbers() -> None:
    number = Column("x", is_number=True)
    values = [3, -0.5, decimal.Decimal("0.25"), None, float("nan")]
    assert [value_in({"x": value}, number) for value in values] == [3.0, -0.5, 0.25, None, None]
    for value, reason in (
        ("3", "holds a value of type str, not a number"),
        (False, "holds a value of type bool, not a number"),
        ([3], "holds a value of type list, not a number"),
        (float("inf"), "holds inf, not a finite number"),
        (10**400, "holds inf, not a finite number"),
        (2**53 + 1, "a float cannot hold all its digits"),
    ):
        with pytest.raises(BadRowError, match=reason):
            value_in({"x": value}, number)


def test_values_that_are_no_label() -> None:
    with pytest.raises(NoFieldError, match=r"no field 'meta\.x' .looking for 'x', found null"):
        value_in({"meta": None}, Column("meta.x"))
    with pytest.raises(BadRowError, match="surrogate"):
        value_in({"x": "\ud83d"}, Column("x"))
    with pytest.raises(StageError, match=r"'meta' holds a value of type dict; .* .its fields: meta.url, …"):
        value_in({"meta": {"url": "a"}}, Column("meta"))
    for value in ([1, 2], b"raw"):
        with pytest.raises(StageError, match=r"corpus\.keep_columns: field 'x' holds a value of type (list|bytes)"):
            value_in({"x": value}, Column("x"))
