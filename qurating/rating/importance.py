"""Importance weights of texts from hashed n-grams (DSIR, Xie et al. 2023, arXiv 2302.03169).

A text is the bag of its words and of its pairs of neighbouring words, each hashed into one of K buckets. With p and q
the frequencies of the buckets in the target and in the corpus, the log importance weight of a text is
Σ_b n_b ln(p_b / q_b), where bucket b occurs n_b times in the text.
"""

import functools
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from qurating.corpus.hashing import WordHashes, mix64

Floats = npt.NDArray[np.float64]

Counts = npt.NDArray[np.int64]


class Buckets:
    """Buckets of the n-grams of texts.

    Args:
        num_buckets: K.
    """

    def __init__(self, num_buckets: int) -> None:
        self.num_buckets = num_buckets
        self._words = WordHashes()

    def of(self, texts: Sequence[str]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
        """The buckets of the n-grams of all texts, text after text, and the number of n-grams per text, (N,)."""
        hashes, num_words = self._words.of(texts, with_signs=True)
        # pairs of neighbours: every word with the one before it, except for the first word of each text
        is_first = np.zeros(len(hashes), bool)
        is_first[(np.cumsum(num_words) - num_words)[num_words > 0]] = True
        seconds = np.flatnonzero(~is_first)
        pairs = mix64(hashes[seconds - 1] + np.uint64(1)) ^ hashes[seconds]
        owner = np.repeat(np.arange(len(texts)), num_words)
        order = np.argsort(np.concatenate([owner, owner[seconds]]), kind="stable")
        ngrams = mix64(np.concatenate([hashes, pairs]))[order]
        return (ngrams % np.uint64(self.num_buckets)).astype(np.int64), np.maximum(2 * num_words - 1, 0)


def count_ngrams(texts: Sequence[str], num_buckets: int) -> Counts:
    """The number of n-grams of texts in each bucket, (K,)."""
    return np.bincount(_buckets(num_buckets).of(texts)[0], minlength=num_buckets)


def log_ratio(target: Counts, corpus: Counts, smoothing: float = 1.0) -> Floats:
    """ln(p_b / q_b) of each bucket, (K,), with p_b = (n_b + smoothing) / Σ (n + smoothing), and q likewise.

    Raises ValueError if either has no n-grams.
    """
    if not target.sum() or not corpus.sum():
        raise ValueError(f"there is no word in the {'corpus' if target.sum() else 'target'}")
    p, q = target + smoothing, corpus + smoothing
    return np.log(p / p.sum()) - np.log(q / q.sum())


def log_weights(texts: Sequence[str], ratio: Floats, per_ngram: bool = False) -> Floats:
    """Σ_b n_b ln(p_b / q_b) of each text, (N,), in nats; 0 for a text without a word.

    Args:
        ratio: (K,), from `log_ratio`.
        per_ngram: divide by the number of n-grams, Σ_b n_b.
    """
    found, sizes = _buckets(len(ratio)).of(texts)
    weights = np.zeros(len(texts))
    starts = np.cumsum(sizes) - sizes
    filled = np.flatnonzero(sizes)
    if len(filled):
        weights[filled] = np.add.reduceat(ratio[found], starts[filled])
    return weights / np.maximum(sizes, 1) if per_ngram else weights


@functools.cache
def _buckets(num_buckets: int) -> Buckets:
    return Buckets(num_buckets)  # one per process: it caches the hashes of words
