"""Which judged pairs a rater is trained on, and which are held out to validate it."""

import numpy as np
import numpy.typing as npt

from qurating.artifacts.seeds import seed_for

Indices = npt.NDArray[np.int64]


def split_pairs(num_pairs: int, validation_fraction: float, seed: int) -> tuple[Indices, Indices]:
    """The held-out pairs and the others, drawn by the seed of the training: indices, in the order of the draw."""
    order = np.random.default_rng(seed_for(seed, "validation")).permutation(num_pairs)
    num_held_out = round(validation_fraction * num_pairs)
    return order[:num_held_out], order[num_held_out:]
