"""Pairs with random scores and judgments, of two criteria."""

import numpy as np

RNG = np.random.default_rng(0)


def drawn(num_pairs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b = RNG.normal(size=(2, num_pairs, 2))
    judged = RNG.uniform(size=(num_pairs, 2))
    judged[RNG.uniform(size=judged.shape) < 0.2] = np.nan
    return a, b, judged
