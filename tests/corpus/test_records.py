"""Rows of JSON lines, and fields of rows."""

from pathlib import Path
from typing import Any

import pytest
from compression_example import ENDINGS, written

from qurating.corpus.records import BLANK, BadRowError, json_rows, lookup, name_in, parsed, text_in, whole


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
