"""Which judged pairs a rater is trained on, which sequences a scorer, and which are held out to validate it."""

import numpy as np
import numpy.typing as npt

from qurating.artifacts.seeds import seed_for

Indices = npt.NDArray[np.int64]

# What the seed of the split is derived from the stage's seed by: part of every rater and scorer there is
PAIRS = ("train_rater", "pairs")
SEQUENCES = ("train_scorer", "sequences")


def split(number: int, validation_fraction: float, seed: int) -> tuple[Indices, Indices]:
    """The held-out pairs or sequences and the others: indices, in the order of the draw.

    Args:
        seed: `seed_for(seed of the stage, *PAIRS)`, or `*SEQUENCES`.
    """
    order = np.random.default_rng(seed_for(seed, "validation")).permutation(number)
    num_held_out = round(validation_fraction * number)
    return order[:num_held_out], order[num_held_out:]
