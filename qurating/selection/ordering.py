"""The order in which a language model sees the selected sequences.

Every function returns a permutation: the indices of the sequences in training order.
"""

import hashlib

import numpy as np
import numpy.typing as npt

from qurating.corpus.hashing import as_ids
from qurating.selection.noise import check_temperature, gumbel
from qurating.selection.statistics import normalise

Indices = npt.NDArray[np.int64]


def shuffle(ids: npt.ArrayLike, seed: int) -> Indices:
    """A random order that depends on (seed, id) alone, not on the order of the rows."""
    ids_n = as_ids(ids)
    return np.lexsort((ids_n, gumbel(ids_n, seed))).astype(np.int64)


def sort(scores: npt.ArrayLike, ids: npt.ArrayLike, descending: bool = False) -> Indices:
    """By score, ascending by default; equal scores by id."""
    scores_n = _scores(scores)
    return np.lexsort((as_ids(ids), -scores_n if descending else scores_n)).astype(np.int64)


def fold(
    scores: npt.ArrayLike,
    num_folds: int,
    ids: npt.ArrayLike | None = None,
    descending: bool = False,
    window: int | None = None,
    seed: int = 0,
) -> Indices:
    """Folding (DELT eq. 10): sort ascending; layer l of L holds the ranks ≡ l (mod L); the layers follow one another.

    Args:
        scores: (N,) floats.
        num_folds: L, at least 1. L = 1 is sorting.
        ids: (N,) that break ties; None: ties go by position.
        descending: sort from the highest score down instead (DELT does not).
        window: shuffle each run of so many sequences within a layer, by (seed, id), so that batches are less alike
            (DELT does not). A window as long as a layer shuffles the layer. None: keep the order by score.

    Raises:
        ValueError: NaN or infinite scores; a number of folds or a window that is not a whole number of at least one.
    """
    for what, number in (("number of folds", num_folds), ("window", 1 if window is None else window)):
        if not isinstance(number, int) or number < 1:
            raise ValueError(f"the {what} must be a whole number, at least one, not {number}")
    by = as_ids(np.arange(len(np.asarray(scores))) if ids is None else ids)
    ranked = sort(scores, by, descending)
    layers = [ranked[layer::num_folds] for layer in range(num_folds)]
    if window is not None:
        layers = [_shuffle_windows(layer, by[layer], window, seed) for layer in layers]
    return np.concatenate(layers)


def _shuffle_windows(layer: Indices, ids: npt.NDArray[np.uint64], window: int, seed: int) -> Indices:
    """Each run of `window` sequences in a random order; `ids` are those of the layer, in its order."""
    return layer[np.lexsort((ids, gumbel(ids, seed), np.arange(len(layer)) // window))]


def curriculum(
    scores: npt.ArrayLike, ids: npt.ArrayLike, temperature: float, seed: int, descending: bool = True
) -> Indices:
    """The order in which sampling with p(d) ∝ exp(s_d / τ) would draw the sequences; reversed if not `descending`.

    Scores are normalised over the given sequences. τ = 0 is sorting. Raises ValueError for NaN or infinite scores,
    or for a negative τ.
    """
    check_temperature(temperature)
    keys = normalise(_scores(scores))
    if temperature > 0:
        keys = keys / temperature + gumbel(as_ids(ids), seed)
    drawn = sort(keys, ids, descending=True)
    return drawn if descending else drawn[::-1].copy()


def digest(ordered_ids: npt.NDArray[np.int64]) -> str:
    """The SHA-256 of an order: of its ids as little-endian int64, in training order."""
    return hashlib.sha256(np.ascontiguousarray(ordered_ids, dtype="<i8").tobytes()).hexdigest()


def _scores(scores: npt.ArrayLike) -> npt.NDArray[np.float64]:
    array = np.asarray(scores, dtype=np.float64)
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise ValueError(f"{len(bad):,} scores are NaN or infinite, the first at position {bad[0]}")
    return array
