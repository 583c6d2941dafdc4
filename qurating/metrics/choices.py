"""What the log-likelihoods of answers say about a language model, one item at a time.

An item has C answers to choose from, of which one or several are correct. `log_likelihoods` (C,) are
ln p(answer | question) in nats, summed over the tokens of the answer; `lengths` (C,) are those of the answers, in
characters. Accuracy jumps from 0 to 1, and a small model is at chance. The likelihoods move long before it does
(DataDecide, arXiv 2504.11393).
"""

import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def chosen(log_likelihoods: npt.ArrayLike, lengths: npt.ArrayLike | None = None) -> int:
    """The index of the most likely answer; with `lengths`, of the one most likely per character. Ties: the first."""
    return int(np.argmax(_per_length(log_likelihoods, lengths)))


def probability(log_likelihoods: npt.ArrayLike, correct: Sequence[int], lengths: npt.ArrayLike | None = None) -> float:
    """Σ_{c correct} softmax(ln p)_c: the probability of a correct answer among the choices.

    With `lengths`, each ln p is first divided by the length of its answer.
    """
    values = _per_length(log_likelihoods, lengths)
    weights = np.exp(values - values.max())
    return float(weights[list(correct)].sum() / weights.sum())


def bits_per_byte(log_likelihoods: npt.ArrayLike, correct: Sequence[int], num_bytes: npt.ArrayLike) -> float:
    """−ln p / (ln 2 · bytes) of the correct answer, `num_bytes` (C,) in UTF-8; of several correct ones the lowest."""
    bits = -_per_length(log_likelihoods, num_bytes) / math.log(2.0)
    return float(bits[list(correct)].min())


def mean_and_error(values: npt.ArrayLike) -> tuple[float | None, float | None]:
    """The mean over N items and its standard error s/√N, s² = Σ(x − mean)²/(N − 1); None without enough items."""
    found = np.asarray(values, dtype=np.float64)
    mean = float(found.mean()) if len(found) else None
    return mean, float(found.std(ddof=1) / math.sqrt(len(found))) if len(found) > 1 else None


def _per_length(log_likelihoods: npt.ArrayLike, lengths: npt.ArrayLike | None) -> npt.NDArray[np.float64]:
    values = np.asarray(log_likelihoods, dtype=np.float64)
    # an empty answer counts as one character
    return values if lengths is None else values / np.maximum(np.asarray(lengths, dtype=np.float64), 1.0)
