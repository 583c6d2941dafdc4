"""A few held-out sequences, and the callback that measures the loss on them."""

import numpy as np
import pyarrow as pa

from qurating.models.heldout import HeldOut
from qurating.training.curve import HeldOutLoss

EOS = 0
# the order has 93 tokens in steps of 32
POINTS = {1: 32, 2: 64, 3: 93}


def heldout() -> HeldOut:
    """Five sequences of three documents and two domains, one sequence without tokens."""
    lengths = [5, 0, 7, 1, 3]
    table = pa.table(
        {
            "id": pa.array(range(5), pa.int64()),
            "document_id": ["a", "a", "b", "b", "c"],
            "domain": ["prose", "prose", "code", "code", "prose"],
            "num_tokens": pa.array(lengths, pa.int32()),
            "num_bytes": pa.array([3 * n for n in lengths], pa.int64()),
        }
    )
    tokens = np.random.default_rng(1).integers(1, 64, sum(lengths)).astype(np.int32)
    return HeldOut(table, tokens, np.concatenate([[0], np.cumsum(lengths)]), 0)


def measured(points: dict[int, int] = POINTS, batch_size: int = 2) -> HeldOutLoss:
    return HeldOutLoss(heldout(), points, EOS, batch_size)
