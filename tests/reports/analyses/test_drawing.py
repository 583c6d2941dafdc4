"""The figures of an analysis as files: one for each table and each grouping that has something to show."""

from pathlib import Path

import pyarrow as pa
import pytest

from qurating.reports.analyses import drawing, selections
from qurating.reports.rated.tables import COLUMNS

GROUPINGS = ("all", "domain", "cluster", "lang", "meta.url/../x", "meta.url/..\\x")


def tables(num_subsets: int = 2) -> dict[str, pa.Table]:
    """Tables without rows, but for ratings and retention by each grouping."""
    empty = pa.array([], pa.string())
    found = {name: pa.table(dict.fromkeys(columns.split(), empty)) for name, columns in COLUMNS.items()}
    sizes = {"num": 50, "tokens": 1000, "mean": 0.5, "sd": 1.0, "distinct": 50}
    percentiles = {"p5": -1.0, "p25": 0.0, "p50": 0.5, "p75": 1.0, "p95": 2.0}
    found["by_group"] = pa.Table.from_pylist(
        [
            {"grouping": grouping, "group": group, "criterion": "style", **sizes, **percentiles}
            for grouping in GROUPINGS
            for group in ("a", "b")
        ]
    )
    shares = {"tokens": 1000, "kept_tokens": 100, "share_kept": 0.1, "share_of_subset": 0.5, "share_of_corpus": 0.5}
    found["retention"] = pa.Table.from_pylist(
        [
            {"grouping": grouping, "group": group, "subset": f"s{number:02}", **shares}
            for grouping in GROUPINGS[1:]
            for group in ("a", "b")
            for number in range(num_subsets)
        ]
    )
    return found


def test_each_grouping_has_its_figures_whatever_its_name(tmp_path: Path) -> None:
    number = drawing.draw(tmp_path / "plots", tables(), {"s00": "one", "s01": "two"}, {})
    names = {file.relative_to(tmp_path).as_posix() for file in tmp_path.rglob("*.png")}
    assert len(names) == number == 2 * 5
    assert {f"plots/{kind}{of}.png" for kind in ("by", "retention_by") for of in ("_cluster", "_lang")} < names
    assert {"plots/by_group.png", "plots/retention.png"} < names
    strange = {name for name in names if name.startswith("plots/by_meta_url")}
    assert len(strange) == 2  # two columns whose names look the same
    assert all(file.stat().st_size > 1000 for file in tmp_path.rglob("*.png"))


def test_figures_show_the_first_subsets_under_their_labels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[list[str]] = []

    def retention(table: pa.Table, grouping: str) -> None:
        seen.append(list(dict.fromkeys(table["subset"].to_pylist())))

    monkeypatch.setattr(selections, "retention", retention)
    shown = {f"s{number:02}": f"label {number}" for number in range(drawing.MAX_SUBSETS + 3)}
    drawing.draw(tmp_path / "plots", tables(drawing.MAX_SUBSETS + 5), shown, {})
    assert seen
    assert all(labels == [f"label {n}" for n in range(drawing.MAX_SUBSETS)] for labels in seen)
