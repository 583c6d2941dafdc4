"""The tables of an analysis, cut to what the page shows."""

import math
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qurating.reports.rated import tables
from qurating.runtime.errors import StageError

NUMBERS = dict.fromkeys(("mean", "sd", "p5", "p25", "p50", "p75", "p95"), 0.123456789)


def by_group(group: str | bytes, tokens: int, grouping: str = "domain") -> dict[str, Any]:
    return {"grouping": grouping, "group": group, "criterion": "c", "num": 1, "tokens": tokens, "distinct": 1} | NUMBERS


def write(folder: Path, name: str, rows: list[dict[str, Any]]) -> None:
    (folder / "tables").mkdir(exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows), folder / "tables" / f"{name}.parquet")


def test_absent_and_empty_tables_are_none(tmp_path: Path) -> None:
    write(tmp_path, "by_group", [by_group("a", 5)])
    empty = pa.schema([(name, pa.string()) for name in tables.COLUMNS["overlap"].split()]).empty_table()
    pq.write_table(empty, tmp_path / "tables" / "overlap.parquet")
    found, _ = tables.read(tmp_path)
    assert found.keys() == tables.COLUMNS.keys()
    assert [name for name, rows in found.items() if rows is not None] == ["by_group"]
    rows = found["by_group"]
    assert rows is not None
    assert rows[0]["mean"] == 0.12346


def test_the_largest_of_many_domains_are_shown(tmp_path: Path) -> None:
    names = [f"d{number}" for number in range(5_000)]
    write(tmp_path, "by_group", [by_group(name, number) for number, name in enumerate(names)])
    temperatures = [
        {"criterion": "c", "temperature": t, "domain": name, "share": 1 / 5_000}
        for t in (0.0, math.inf)
        for name in names
    ]
    write(tmp_path, "temperatures", temperatures)
    found, groups = tables.read(tmp_path)
    assert groups["domain"] == (names[:-31:-1], 5_000)
    rows = found["temperatures"]
    assert rows is not None
    assert len(rows) == 2 * 30
    assert {row["domain"] for row in rows} == set(names[-30:])
    assert {row["temperature"] for row in rows} == {0.0, math.inf}


def test_groups_of_another_grouping_do_not_count(tmp_path: Path) -> None:
    rows = [by_group("x", 1), by_group("x", 9, "cluster"), by_group("y", 2)]
    write(tmp_path, "by_group", rows)
    write(tmp_path, "clusters", [{"cluster": name, "top_terms": "t", "num": 1} for name in ("x", "y")])
    found, groups = tables.read(tmp_path)
    assert groups == {"domain": (["y", "x"], 2), "cluster": (["x"], 1)}
    assert found["clusters"] == [{"cluster": "x", "top_terms": "t", "num": 1}]


def test_groups_of_a_rater_are_the_largest_of_its_own(tmp_path: Path) -> None:
    write(tmp_path, "by_group", [by_group("web", 1)])
    row = {"rater": "r", "criterion": None, "grouping": "domain", "accuracy": 0.5, "low": 0.4, "high": 0.6}
    rows = [row | {"group": f"d{place}", "num_pairs": place} for place in range(40)]
    write(tmp_path, "rater_accuracy", [*rows, row | {"grouping": "confidence", "group": "0.00-0.25", "num_pairs": 1}])
    place = {"annotation": "a", "criterion": "lqs", "annotated": 0.1, "predicted": 0.2, "held_out": None}
    write(tmp_path, "annotated", [place | {"id": 2**62 + row, "domain": f"d{row}"} for row in range(40)])
    found, groups = tables.read(tmp_path)
    assert list(groups) == ["domain", "cluster"] or list(groups) == ["domain"]
    shown = [row["group"] for row in found["rater_accuracy"] or []]
    assert set(shown) == {*(f"d{place}" for place in range(10, 40)), "0.00-0.25"}
    annotated = found["annotated"] or []
    assert len(annotated) == 40  # each is a point
    assert annotated[0]["id"] == str(2**62)


def test_long_names_are_cut_and_stay_apart(tmp_path: Path) -> None:
    long = "d" * 1_000_000
    write(tmp_path, "by_group", [by_group(f"{long}1", 1), by_group(f"{long}2", 2)])
    found, groups = tables.read(tmp_path)
    rows = found["by_group"]
    assert rows is not None
    names = [row["group"] for row in rows]
    assert len(set(names)) == 2
    assert set(names) == set(groups["domain"].shown)
    assert {len(name) for name in names} <= set(range(tables.MAX_CHARACTERS + 1))


def test_bytes_that_are_no_text_are_shown_as_escapes(tmp_path: Path) -> None:
    raw = pa.array([b"a\xff\xed\xa0\x80"], pa.binary())
    table = pa.Table.from_pylist([by_group("x", 1)])
    bad = pa.Array.from_buffers(pa.string(), 1, raw.buffers())  # what a careless writer of Parquet leaves
    table = table.set_column(table.column_names.index("group"), "group", bad)
    (tmp_path / "tables").mkdir()
    pq.write_table(table, tmp_path / "tables" / "by_group.parquet")
    _, groups = tables.read(tmp_path)
    assert groups["domain"].shown == [r"a\xff\xed\xa0\x80"]


def test_a_missing_column_is_named(tmp_path: Path) -> None:
    write(tmp_path, "normalisation", [{"criterion": "c"}])
    with pytest.raises(StageError, match="share_changed"):
        tables.read(tmp_path)


def test_ids_are_text(tmp_path: Path) -> None:
    row = {"criterion": "c", "domain": "d", "percentile": 5.0, "id": 2**62 + 1, "rating": 0.5}
    write(tmp_path, "percentiles", [row])
    found, _ = tables.read(tmp_path)
    assert found["percentiles"] == [row | {"id": str(2**62 + 1)}]
