"""What a few repeated measurements say: intervals and p-values by Student's t, and Holm's correction.

For n independent normal values, (mean − μ) / (s / √n) follows Student's t with ν = n − 1 degrees of freedom.
"""

import functools
import math
from collections.abc import Sequence

import mpmath
import numpy as np


def tail(t: float, degrees: int) -> float:
    """P(|T| > |t|) for Student's t: the regularised incomplete beta function I_x(ν/2, 1/2) at x = ν / (ν + t²)."""
    return float(_tail(t, degrees))


def _tail(t: mpmath.mpf, degrees: int) -> mpmath.mpf:
    return mpmath.betainc(degrees / 2, 0.5, 0, degrees / (degrees + t * t), regularized=True)


@functools.cache
def critical(degrees: int) -> float:
    """The t that |T| exceeds with probability 5 %: 12.71 for ν = 1, 2.78 for ν = 4, and more than 1.95 for any ν."""
    return float(mpmath.findroot(lambda t: _tail(t, degrees) - 0.05, (1.9, 13), solver="anderson"))


def interval(values: Sequence[float]) -> tuple[float, float] | None:
    """The 95 % interval of the mean of independent values, mean ± t · s / √n.

    None for fewer than two values, and for values that do not vary at all, which are no independent measurements.
    """
    if (error := _standard_error(values)) is None:
        return None
    mean, half = float(np.mean(values)), critical(len(values) - 1) * error
    return mean - half, mean + half


def p_value(differences: Sequence[float]) -> float | None:
    """Two-sided p-value of the paired t-test: that the mean of the differences is 0. None where `interval` is."""
    if (error := _standard_error(differences)) is None:
        return None
    return tail(float(np.mean(differences)) / error, len(differences) - 1)


def _standard_error(values: Sequence[float]) -> float | None:
    if len(values) < 2 or not np.isfinite(values).all() or np.ptp(values) == 0:
        return None
    return float(np.std(values, ddof=1)) / math.sqrt(len(values))


def holm(p_values: Sequence[float]) -> list[float]:
    """p-values adjusted by Holm's step-down: the chance of one false finding among all is at most the adjusted value.

    The k-th smallest of m (k from 0) times m − k, at least as large as those before it, at most 1 (Holm, 1979).
    """
    adjusted = [0.0] * len(p_values)
    largest = 0.0
    for k, place in enumerate(sorted(range(len(p_values)), key=lambda place: p_values[place])):
        largest = max(largest, min(1.0, (len(p_values) - k) * p_values[place]))
        adjusted[place] = largest
    return adjusted
