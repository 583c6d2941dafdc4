"""Sentences of warning."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pytest
from rated_example import drawn, rated

from qurating.analysis import cautions, raters
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


def of_raters(**given: Sequence[tuple[object, ...]]) -> list[str]:
    """The sentences about rows of some columns."""
    columns = {
        "judge": ("judgments", "criterion", "grouping", "group", "num_pairs", "orders_agree", "low", "high"),
        "rater_accuracy": ("criterion", "grouping", "group", "num_pairs", "accuracy", "low", "high"),
        "rater_calibration": ("rater", "criterion", "num_pairs", "predicted", "judged"),
        "scorer": ("grouping", "group", "num_sequences", "spearman", "low", "high"),
    }
    empty = raters.tables([], [], [])
    return cautions.of_raters(
        {
            name: pa.Table.from_pylist(
                [dict(zip(columns[name], row, strict=True)) for row in given.get(name, [])], empty[name].schema
            )
            for name in columns
        }
    )


def test_nothing_is_told_of_good_raters() -> None:
    found = of_raters(
        judge=[("j", "a", "all", "all", 500, 0.9, 0.87, 0.92), ("j", "a", "domain", "web", 9, 0.5, 0.2, 0.8)],
        rater_accuracy=[("a", "all", "all", 99, 0.7, 0.6, 0.8), ("a", "confidence", "0.00-0.25", 9, 0.4, 0.2, 0.7)],
        rater_calibration=[("r", "a", 200, 0.6, 0.65), ("r", "a", 50, 0.8, 0.75)],
        scorer=[("all", "all", 80, 0.5, 0.3, 0.7), ("domain", "web", 20, 0.1, -0.3, 0.5)],
    )
    assert found == []


@pytest.mark.parametrize(
    ("agreement", "told"),
    [
        ((0.55, 0.45, 0.65), "55 % (45 to 65 %) of 500 pairs, not clearly more than by chance (50 %)"),
        ((0.25, 0.23, 0.27), "25 % (23 to 27 %) of 500 pairs, less than by chance (50 %)"),
        ((0.65, 0.6, 0.7), "65 % (60 to 70 %) of 500 pairs, which is little (50 % by chance)"),
        ((None, None, None), None),
    ],
)
def test_a_judge_that_contradicts_itself(agreement: tuple[float | None, ...], told: str | None) -> None:
    found = of_raters(judge=[("j", "a", "all", "all", 500, *agreement)])
    assert len(found) == (told is not None)
    assert all(str(told) in sentence and " by a " in sentence for sentence in found)


def test_of_several_judges_the_one_is_named() -> None:
    rows = [("one", "a", "all", "all", 500, 0.9, 0.8, 0.95), ("two", "a", "all", "all", 500, 0.5, 0.4, 0.6)]
    (found,) = of_raters(judge=rows)
    assert found.startswith("The judge (two) prefers the same text")


def test_a_rater_that_may_guess() -> None:
    rows = [("a", "all", "all", 7, 0.7, 0.36, 0.92), ("b", "all", "all", 0, None, None, None)]
    guesses, unknown = of_raters(rater_accuracy=rows)
    assert "by a in 70 % (36 to 92 %) of 7 held-out pairs, not clearly more than by chance" in guesses
    assert unknown.startswith("The accuracy of the rater by b is not known")


def test_a_rater_that_is_less_sure_or_surer_than_the_judge() -> None:
    rows = [("r", "a", 90, 0.55, 0.8), ("r", "a", 10, 0.65, 0.6), ("r", "b", 100, 0.95, 0.7), ("r", "c", 99, 0.9, 0.5)]
    less, surer = of_raters(rater_calibration=rows)  # too few pairs for c
    assert less.startswith("The rater is less sure than the judge by a")
    assert "off by 23 percentage points on average (100 held-out pairs)" in less
    assert "look smaller" in less
    assert "surer than the judge by b" in surer
    assert "look larger" in surer


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ((40, 0.2, -0.1, 0.5), "ρ is 0.20 (from -0.10 to 0.50) for 40 of them"),
        ((3, 1.0, None, None), "ρ is 1.00 for 3 of them"),
    ],
)
def test_a_scorer_that_cannot_order(row: tuple[object, ...], told: str) -> None:
    (found,) = of_raters(scorer=[("all", "all", *row)])
    assert told in found
