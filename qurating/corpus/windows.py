"""Windows of a sequence for the rater, and the mean of their ratings (QuRating: at most 512 tokens at a time)."""

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def windows(input_ids: Sequence[int], max_tokens: int) -> list[Sequence[int]]:
    """A sequence cut into windows, in order: full ones, then the rest. No token is dropped.

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
        a number, or (C,) numbers.

    Raises:
        ValueError: no windows, or no tokens in them.
    """
    lengths_w = np.asarray(lengths, dtype=np.float64)
    values_w = np.asarray(values, dtype=np.float64)
    if lengths_w.ndim != 1 or len(values_w) != len(lengths_w):
        raise ValueError(f"{len(values_w)} values for {lengths_w.shape} lengths")
    if not lengths_w.sum() > 0:
        raise ValueError("a sequence without tokens has no rating")
    return np.tensordot(lengths_w, values_w, axes=1) / lengths_w.sum()


def window_lengths(
    lengths: npt.NDArray[np.int64], max_tokens: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """The lengths of the windows that `windows` cuts from many sequences.

    Args:
        lengths: (S,) tokens of each sequence, at least one.

    Returns:
        tokens of each window (W,), in order; number of windows of each sequence (S,).

    Raises:
        ValueError: `max_tokens` is below 1.
    """
    if max_tokens < 1:
        raise ValueError(f"a window must hold at least one token, not {max_tokens}")
    num_windows = -(-lengths // max_tokens)
    of_windows = np.full(int(num_windows.sum()), max_tokens, np.int64)
    of_windows[np.cumsum(num_windows) - 1] = lengths - (num_windows - 1) * max_tokens
    return of_windows, num_windows


def weighted_means(
    values: npt.NDArray[np.floating], lengths: npt.NDArray[np.int64], num_windows: npt.NDArray[np.int64]
) -> npt.NDArray[np.float64]:
    """`weighted_mean` of many sequences: (S, C) from the ratings (W, C) and lengths (W,) of all windows, in float64.

    `num_windows` (S,) is the number of windows of each sequence, at least one.
    """
    if not len(num_windows):
        return np.empty((0, values.shape[1]))
    starts = np.cumsum(num_windows) - num_windows
    weights = lengths.astype(np.float64)[:, None]
    return np.add.reduceat(weights * values, starts) / np.add.reduceat(weights, starts)
