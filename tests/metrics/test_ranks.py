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
