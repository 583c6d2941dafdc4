"""Student's t and Holm's correction against printed tables, closed forms and an example by hand."""

import math

import numpy as np
import pytest

from qurating.metrics.student import critical, holm, interval, p_value, tail


@pytest.mark.parametrize(
    ("degrees", "printed"),
    # of the tables in textbooks, 0.975 quantiles
    [(1, 12.706), (2, 4.303), (3, 3.182), (4, 2.776), (9, 2.262), (30, 2.042), (120, 1.980), (100_000, 1.960)],
)
def test_critical_values_are_those_of_printed_tables(degrees: int, printed: float) -> None:
    assert critical(degrees) == pytest.approx(printed, abs=5e-4)
    assert tail(critical(degrees), degrees) == pytest.approx(0.05, rel=1e-9)


@pytest.mark.parametrize("t", [0.0, 0.3, -1.0, 2.5, 40.0])
def test_tails_have_their_closed_forms(t: float) -> None:
    """ν = 1 is Cauchy's distribution; ν = 2 has P(|T| > t) = 1 − t / √(2 + t²)."""
    assert tail(t, 1) == pytest.approx(1 - 2 / math.pi * math.atan(abs(t)), rel=1e-9)
    assert tail(t, 2) == pytest.approx(1 - abs(t) / math.sqrt(2 + t * t), rel=1e-9)


def test_an_interval_and_a_p_value_by_hand() -> None:
    values = [-0.03, -0.01, -0.02]  # mean −0.02, s = 0.01, error 0.01/√3
    low, high = interval(values) or (math.nan, math.nan)
    half = 4.302653 * 0.01 / math.sqrt(3)
    assert (low, high) == (pytest.approx(-0.02 - half, rel=1e-6), pytest.approx(-0.02 + half, rel=1e-6))
    t = 2 * math.sqrt(3)
    assert p_value(values) == pytest.approx(1 - t / math.sqrt(2 + t * t), rel=1e-9)
    assert p_value([-value for value in values]) == pytest.approx(p_value(values))


def test_the_interval_covers_the_mean_as_often_as_it_says() -> None:
    numbers = np.random.default_rng(3)
    found = [interval(numbers.normal(5.0, 2.0, 3).tolist()) for _ in range(4000)]
    covered = np.mean([low <= 5.0 <= high for low, high in filter(None, found)])
    assert 0.94 < covered < 0.96  # the standard error of the share is 0.0034


@pytest.mark.parametrize("values", [[], [1.0], [2.0, 2.0, 2.0], [1.0, math.inf], [1.0, math.nan]])
def test_what_does_not_vary_has_no_interval(values: list[float]) -> None:
    assert interval(values) is None
    assert p_value(values) is None


def test_holm_by_hand() -> None:
    """The example of four hypotheses: 0.005 · 4, 0.01 · 3, 0.03 · 2, and 0.04, which may not be below the last."""
    assert holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert holm([0.6, 0.7]) == [1.0, 1.0]
    assert holm([0.02]) == [0.02]
    assert holm([]) == []
