"""Rank correlation against its definition."""

import numpy as np
import pytest
from slow_ranks import slow_spearman

from qurating.metrics import ranks


@pytest.mark.parametrize("num_values", [2, 5, 1000])
def test_rank_correlation_is_as_defined(num_values: int) -> None:
    rng = np.random.default_rng(0)
    a = rng.integers(0, num_values, 60).astype(float)
    b = np.where(rng.random(60) < 0.5, a, rng.integers(0, num_values, 60))
    assert ranks.spearman(a, b) == pytest.approx(slow_spearman(a, b), abs=1e-12)
    assert ranks.spearman(a, -a) == pytest.approx(-1)
    assert ranks.spearman(a, np.full(60, 0.1)) == 0


def test_the_interval_covers_the_truth_as_often_as_it_says() -> None:
    """Of a normal distribution with Pearson's r, Spearman's ρ is 6/π · asin(r/2)."""
    rng, r = np.random.default_rng(1), 0.6
    truth = 6 / np.pi * np.arcsin(r / 2)
    covered = 0
    for _ in range(400):
        a, noise = rng.normal(size=(2, 60))
        low, high = ranks.spearman_interval(ranks.spearman(a, r * a + np.sqrt(1 - r**2) * noise), 60) or (1, -1)
        covered += low <= truth <= high
    assert 0.92 < covered / 400 < 0.98


def test_an_interval_lies_between_minus_one_and_one() -> None:
    assert ranks.spearman_interval(0.9, 3) is None
    low, high = ranks.spearman_interval(1.0, 50) or (0, 0)
    assert 0.99 < low <= high <= 1
    low, high = ranks.spearman_interval(0.0, 50) or (0, 0)
    assert low == -high < 0
