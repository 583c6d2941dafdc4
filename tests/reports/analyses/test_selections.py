"""Figures about selections."""

import math

import numpy as np
from matplotlib.figure import Figure
from rated_example import drawn

from qurating.analysis.subsets import DUPLICATES, overlap, retention
from qurating.analysis.tables import from_rows
from qurating.analysis.temperatures import NORMALISATION, TEMPERATURES, temperatures
from qurating.reports.analyses import selections
from qurating.reports.analyses.ratings import MAX_GROUPS


def labels(figure: Figure | None) -> list[str]:
    assert figure is not None
    ticks = [text.get_text() for axes in figure.axes for text in [*axes.get_yticklabels(), *axes.get_xticklabels()]]
    return [*ticks, *(text.get_text() for axes in figure.axes for text in axes.texts)]


def test_retention_is_in_percent() -> None:
    given = drawn()
    table = retention(given, {"low": given.ratings["style"] < 0.5, "none": np.zeros(200, bool)})
    shown = labels(selections.retention(table, "domain"))
    assert {"books", "web", "code", "low", "none"} <= set(shown)
    assert f"{100 * table['share_kept'][0].as_py():.1f}" in shown
    assert selections.retention(table, "cluster") is None
    assert selections.retention(retention(given, {}), "domain") is None


def test_overlap_stands_beside_chance() -> None:
    given = drawn()
    table = overlap(given, {"one": given.ratings["style"] < 0, "two": given.ratings["facts"] < 0})
    figure = selections.overlap(table)
    assert "one\ntwo" in labels(figure)
    assert figure is not None
    drawn_at = {line.get_label(): line.get_xdata()[0] for line in figure.axes[0].lines}  # type: ignore[index]
    assert drawn_at == {"overlap": table["share"][0].as_py(), "by chance": table["by_chance"][0].as_py()}
    assert selections.overlap(overlap(given, {})) is None


def test_temperatures_go_from_top_k_to_uniform() -> None:
    given = drawn()
    table = temperatures(given, int(given.lengths.sum()) // 4, 0)
    figure = selections.temperatures(table)
    assert {"top-k", "uniform"} <= set(labels(figure))
    assert figure is not None
    assert len(figure.axes[0].lines) == 3
    assert selections.temperatures(TEMPERATURES.empty_table()) is None


def test_of_many_domains_the_largest_are_drawn() -> None:
    rows = [("c", tau, f"d{n}", n / 1e4) for tau in (0.0, math.inf) for n in range(60)]
    figure = selections.temperatures(from_rows(rows, TEMPERATURES))
    assert figure is not None
    assert {line.get_label() for line in figure.axes[0].lines} == {f"d{n}" for n in range(60 - MAX_GROUPS, 60)}


def test_shares_are_bars() -> None:
    figure = selections.normalisation(from_rows([("c", 0.25), ("d", None)], NORMALISATION))
    assert " 25.0 %" in labels(figure)
    assert "d" not in labels(figure)
    assert selections.normalisation(from_rows([("d", None)], NORMALISATION)) is None
    figure = selections.duplicates(from_rows([("a", 0.1, 0.02)], DUPLICATES))
    assert {" 10.0 %", " 2.0 %"} <= set(labels(figure))
    assert selections.duplicates(DUPLICATES.empty_table()) is None
