"""Intervals of shares, against their definition and scipy's."""

import pytest

from qurating.metrics.shares import wilson


@pytest.mark.parametrize(("share", "number"), [(0.0, 5), (0.5, 40), (0.9, 1), (1.0, 300)])
def test_the_ends_of_an_interval_are_as_far_off_as_chance_allows(share: float, number: int) -> None:
    """At each end p lies z standard deviations from the share, those of p itself."""
    low, high = wilson(share, number)
    assert -1e-12 <= low < high <= 1 + 1e-12
    for p in (low, high):
        assert (share - p) ** 2 == pytest.approx(1.96**2 * p * (1 - p) / number, abs=1e-12)
    assert low - 1e-12 <= share <= high + 1e-12


@pytest.mark.parametrize(("found", "number"), [(0, 7), (3, 8), (71, 80), (250, 250)])
def test_the_interval_is_that_of_scipy(found: int, number: int) -> None:
    stats = pytest.importorskip("scipy.stats")
    expected = stats.binomtest(found, number).proportion_ci(method="wilson")
    assert wilson(found / number, number) == pytest.approx((expected.low, expected.high), abs=1e-4)
