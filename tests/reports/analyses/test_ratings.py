"""Figures about ratings: what they show, and that they are none without anything to show."""

import numpy as np
import pytest
from matplotlib.figure import Figure
from rated_example import drawn, rated

from qurating.analysis import groups as groups_module
from qurating.analysis.correlations import correlations
from qurating.analysis.first_window import FIRST_WINDOW
from qurating.analysis.preferences import PREFERENCES
from qurating.analysis.tables import CLUSTERS, from_rows
from qurating.analysis.variance import variance
from qurating.reports.analyses import ratings


def labels(figure: Figure | None) -> list[str]:
    """All texts of the axes."""
    assert figure is not None
    ticks = [text.get_text() for axes in figure.axes for text in [*axes.get_yticklabels(), *axes.get_xticklabels()]]
    return [*ticks, *(text.get_text() for axes in figure.axes for text in axes.texts)]


def test_the_largest_domains_are_drawn() -> None:
    domains = [f"d{number:04}" for number in range(5000)]
    given = rated({"c": np.arange(5000.0)}, domains, np.arange(5000) + 1)
    table = groups_module.by_group(given)
    assert len(table) == 5001
    figure = ratings.by_group(table, "domain")
    shown = {label for label in labels(figure) if label.startswith("d")}
    assert shown == {f"d{number:04}" for number in range(5000 - ratings.MAX_GROUPS, 5000)}
    assert ratings.by_group(table, "cluster") is None


def test_a_criterion_without_a_domain_is_drawn_with_the_others() -> None:
    given = rated({"c": [1.0, np.nan], "d": [1.0, 2.0]}, ["a", "b"])
    figure = ratings.by_group(groups_module.by_group(given), "domain")
    assert figure is not None
    assert [axes.get_title(loc="left") for axes in figure.axes] == ["c", "d"]


def test_numbers_are_in_the_heat_maps() -> None:
    given = drawn()
    table = variance(given)
    domain = next(row for row in table.to_pylist() if row["explained_by"] == "domain" and row["criterion"] == "style")
    assert f"{100 * domain['eta_squared']:.0f}" in labels(ratings.variance(table))
    table = correlations(given, {})
    one = table.to_pylist()[0]["spearman"]
    assert f"{one:+.2f}".replace("-", "−") in labels(ratings.correlations(table))


def test_undefined_numbers_stay_empty() -> None:
    constant = rated({"c": [1.0, 1.0]}, ["a", "b"])
    assert ratings.variance(variance(constant)) is not None
    assert ratings.correlations(correlations(constant, {})) is not None


def test_agreement_within_and_across_has_its_pairs() -> None:
    rows: list[tuple[object, ...]] = [("c", "within", 1234, 0.6, 0.5, 0.7), ("c", "across", 99, 0.9, 0.8, 1.0)]
    rows.append(("d", "within", 1, None, None, None))
    assert {"1,234", "99"} <= set(labels(ratings.preferences(from_rows(rows, PREFERENCES))))
    assert ratings.preferences(from_rows(rows[2:], PREFERENCES)) is None


def test_first_windows_have_their_correlation() -> None:
    table = from_rows([("c", 12, 0.5, 0.3), ("d", 0, None, None)], FIRST_WINDOW)
    assert " r 0.50, 12 documents" in labels(ratings.first_window(table))
    assert ratings.first_window(table.slice(1)) is None


@pytest.mark.parametrize("number", [0, 2])
def test_clusters_are_named_by_their_terms(number: int) -> None:
    table = from_rows([(f"c{place}", f"one, two{place}", 5) for place in range(number)], CLUSTERS)
    figure = ratings.clusters(table)
    assert (figure is None) == (number == 0)
    if number:
        assert {"one, two0", "one, two1"} <= set(labels(figure))
