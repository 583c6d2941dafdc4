"""Sentences of warning."""

import numpy as np
import pytest
from rated_example import drawn, rated

from qurating.analysis import cautions
from qurating.analysis.groups import by_group
from qurating.analysis.preferences import PREFERENCES
from qurating.analysis.tables import from_rows
from qurating.analysis.variance import variance


def test_ratings_that_are_not_finite_are_counted() -> None:
    given = rated({"c": [1.0, np.nan, np.inf], "d": [1.0, 2.0, 3.0]}, ["a", "a", "b"])
    assert cautions.of_values(given) == ["2 of 3 ratings by c are NaN or infinite, and are left out."]


def test_domains_within_which_ratings_hardly_differ_are_named() -> None:
    """Domain a spreads, b hardly, c has two values, d is too small to be judged."""
    draw = np.random.default_rng(0)
    parts = [draw.normal(size=200), 5 + 0.001 * draw.normal(size=100), np.tile([8.0, 12.0], 50), np.full(3, 1.0)]
    domains = [name for name, part in zip("abcd", parts, strict=True) for _ in part]
    values = np.concatenate(parts)
    found = cautions.of_spread(by_group(rated({"r": values}, domains)), 0.1, 10)
    assert found == [
        "The ratings by r hardly tell texts apart within 1 of 3 domains (b): less than 0.1 standard deviations of the "
        "corpus.",
        "The ratings by r hardly tell texts apart within 1 of 3 domains (c): fewer than 10 different values.",
    ]
    assert cautions.of_spread(by_group(drawn()), 0.1, 3) == []


def test_constant_ratings_choose_nothing() -> None:
    (said,) = cautions.of_spread(by_group(rated({"r": [0.3] * 50}, ["a"] * 50)), 0.1, 10)
    assert said.startswith("All ratings by r are equal: they choose nothing")


def test_many_domains_are_counted_not_listed() -> None:
    assert cautions.named(["a", "b", "c"]) == "a, b, c"
    assert cautions.named([str(number) for number in range(5000)]) == "0, 1, 2 and 4,997 more"


def test_ratings_that_follow_the_domain_are_told_from_chance() -> None:
    domains = [f"d{number}" for number in range(50) for _ in range(20)]
    values = np.repeat(np.arange(50.0), 20) + np.random.default_rng(0).normal(size=1000)
    (said,) = [line for line in cautions.of_variance(variance(rated({"r": values}, domains))) if "domain" in line]
    assert said.startswith("100 % of the variance of r is between groups of domain")
    # 500 domains of two texts explain half of anything
    noise = rated({"r": np.random.default_rng(1).normal(size=1000)}, [f"d{row // 2}" for row in range(1000)])
    assert cautions.of_variance(variance(noise)) == []


@pytest.mark.parametrize(("low", "number"), [(0.45, 1), (0.55, 0)])
def test_agreement_across_domains_alone_is_told(low: float, number: int) -> None:
    across = (90, 0.9, 0.8, 1.0)
    of_c = [("c", "within", 40, 0.56, low, 0.67), ("c", "across", *across)]
    table = from_rows([*of_c, ("d", "within", 1, None, None, None), ("d", "across", *across)], PREFERENCES)
    found = cautions.of_preferences(table)
    assert len(found) == number
    assert all("AUC 0.90" in line and "0.56, from 0.45 to 0.67, 40 pairs" in line for line in found)
