"""Rank correlation by its definition."""

import numpy as np


def slow_spearman(a: np.ndarray, b: np.ndarray) -> float:
    """By the definition: the rank of a number is how many are below it, and half of those equal to it."""
    ranked = [[sum(y < x for y in v) + sum(y == x for y in v) / 2 for x in v] for v in (a.tolist(), b.tolist())]
    return float(np.corrcoef(ranked[0], ranked[1])[0, 1])
