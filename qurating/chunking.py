"""Windows of a sequence for the rater, and the mean of their ratings (QuRating: at most 512 tokens at a time)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def windows(input_ids: Sequence[int], max_tokens: int) -> list[Sequence[int]]:
    """A sequence cut into its windows, in order: full ones, then what remains. Nothing is cut off.

    Raises ValueError if `max_tokens` is below 1.
    """
    if max_tokens < 1:
        raise ValueError(f"a window must hold at least one token, not {max_tokens}")
    return [input_ids[start : start + max_tokens] for start in range(0, len(input_ids), max_tokens)]


def weighted_mean(values: npt.ArrayLike, lengths: npt.ArrayLike) -> np.float64 | npt.NDArray[np.float64]:
    """The rating of a sequence: Σ_w length_w · value_w / Σ_w length_w, in float64.

    Args:
        values: (W,) or (W, C) ratings of W windows.
        lengths: (W,) tokens of each window.

    Returns:
        a number, or (C,) of them.

    Raises:
        ValueError: no window, or no token in any.
    """
    lengths_w = np.asarray(lengths, dtype=np.float64)
    values_w = np.asarray(values, dtype=np.float64)
    if lengths_w.ndim != 1 or len(values_w) != len(lengths_w):
        raise ValueError(f"{len(values_w)} values for {lengths_w.shape} lengths")
    if not lengths_w.sum() > 0:
        raise ValueError("a sequence without tokens has no rating")
    return np.tensordot(lengths_w, values_w, axes=1) / lengths_w.sum()
