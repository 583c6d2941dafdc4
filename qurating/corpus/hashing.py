"""64-bit hashes of ids and of words, the same on every machine and in every process."""

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from qurating.corpus.words import WORDS, WORDS_AND_RUNS_OF_SIGNS, words_of


class WordHashes:
    """64-bit hashes of words, by BLAKE2b: the same on every machine and in every process."""

    _MAX_KNOWN = 2**20  # words with a cached hash, about 100 MB

    def __init__(self) -> None:
        self._known: dict[str, int] = {}

    def of(self, texts: Sequence[str], with_signs: bool) -> tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]:
        """Hashes of the words of all texts in lower case, text after text, and the number of words per text, (N,).

        Words are those of `words_of` and, `with_signs`, runs of signs.
        """
        rule = WORDS_AND_RUNS_OF_SIGNS if with_signs else WORDS
        words = [words_of(text.lower(), rule) for text in texts]
        hashes = self._hashes([word for text in words for word in text])
        return hashes, np.fromiter(map(len, words), np.int64, len(words))

    def _hashes(self, words: list[str]) -> npt.NDArray[np.uint64]:
        known = self._known
        new = set(words).difference(known)
        if len(known) + len(new) > self._MAX_KNOWN:
            known.clear()
            new = set(words)
        for word in new:
            known[word] = int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest())
        return np.fromiter(map(known.__getitem__, words), np.uint64, len(words))


Ids = npt.NDArray[np.uint64]


def as_ids(ids: npt.ArrayLike) -> Ids:
    """Ids as 64 bits: integers as they are (two's complement), strings by their BLAKE2b hash."""
    array = np.asarray(ids)
    if array.dtype == np.int64:
        return array.view(np.uint64)
    if np.issubdtype(array.dtype, np.integer):
        return array.astype(np.uint64)
    hashed = (hashlib.blake2b(str(item).encode(), digest_size=8).digest() for item in array)
    return np.frombuffer(b"".join(hashed), dtype=np.uint64)


def mix64(values: Ids) -> Ids:
    """The finaliser of splitmix64 (Steele et al. 2014): a bijection of 64-bit integers that passes for random."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    shifted = mixed >> np.uint64(30)
    mixed ^= shifted
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= np.right_shift(mixed, np.uint64(27), out=shifted)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= np.right_shift(mixed, np.uint64(31), out=shifted)
    return mixed
