"""Intervals of shares."""

import math

Z = 1.96  # standard errors in half a 95 % interval


def wilson(share: float, number: int) -> tuple[float, float]:
    """Wilson's 95 % interval of a share among `number` independent trials, at least 1."""
    middle = (share + Z**2 / (2 * number)) / (1 + Z**2 / number)
    half = Z / (1 + Z**2 / number) * math.sqrt(share * (1 - share) / number + Z**2 / (4 * number**2))
    return max(0.0, middle - half), min(1.0, middle + half)  # but for rounding, it lies within
