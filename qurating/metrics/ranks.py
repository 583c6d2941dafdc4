"""Ranks and rank correlation."""

import math

import numpy as np
import numpy.typing as npt

from qurating.metrics.shares import Z


def ranks(values: npt.ArrayLike) -> npt.NDArray[np.float64]:
    """Ranks (N,) from 1, ascending; equal values share the mean of their ranks."""
    _, inverse, counts = np.unique(np.asarray(values), return_inverse=True, return_counts=True)
    return (np.cumsum(counts) - (counts - 1) / 2)[inverse]


def spearman(a: npt.ArrayLike, b: npt.ArrayLike) -> float:
    """Spearman's rank correlation of (N,) and (N,), which is Pearson's of their ranks; 0 if one of them is constant."""
    x, y = (r - r.mean() for r in (ranks(a), ranks(b)))
    norm = float(np.sqrt((x @ x) * (y @ y)))
    return float(x @ y) / norm if norm > 0 else 0.0


def spearman_interval(rho: float, number: int) -> tuple[float, float] | None:
    """The 95 % interval of Spearman's correlation of `number` independent pairs; None for fewer than 4.

    tanh(artanh ρ ± 1.96 √((1 + ρ²/2) / (n − 3))), as Bonett and Wright (2000) find it for ranks.
    """
    if number < 4:
        return None
    middle = math.atanh(min(max(rho, -1 + 1e-12), 1 - 1e-12))
    half = Z * math.sqrt((1 + rho**2 / 2) / (number - 3))
    return math.tanh(middle - half), math.tanh(middle + half)
