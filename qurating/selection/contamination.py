"""Texts that share runs of words with evaluation texts."""

from collections.abc import Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from qurating.corpus.hashing import WordHashes, mix64

Counts = npt.NDArray[np.int64]
Hashes = npt.NDArray[np.uint64]
Item = TypeVar("Item")


class Runs:
    """The runs of words of evaluation texts, to find in other texts.

    Args:
        texts: of the evaluation sets, in batches.
        num_words: of a run; words are those of `corpus.words`, in lower case. A text with fewer words has no runs.

    Attributes:
        too_short: the places of the texts without runs, which are not found anywhere.
    """

    def __init__(self, texts: Iterable[Sequence[str]], num_words: int) -> None:
        self._words, self._num_words = WordHashes(), num_words
        hashes, owners = [np.empty(0, np.uint64)], [np.empty(0, np.int64)]
        self.too_short: list[int] = []
        count = 0
        for batch in texts:
            found, sizes = self._runs(batch)
            self.too_short += (count + np.flatnonzero(sizes == 0)).tolist()
            hashes.append(found)
            owners.append(count + np.repeat(np.arange(len(batch)), sizes))
            count += len(batch)
        self.num_texts = count
        self._hashes, first = np.unique(np.concatenate(hashes), return_index=True)
        self._owners = np.concatenate(owners)[first]

    def __len__(self) -> int:
        """The number of different runs."""
        return len(self._hashes)

    def found_in(self, texts: Sequence[str]) -> tuple[Counts, Counts, Counts]:
        """For each text: its number of runs, how many of them the evaluation has, and the text with the first of those.

        Returns:
            (N,) each; the last is the index of the evaluation text, −1 for none.
        """
        hashes, sizes = self._runs(texts)
        places = np.minimum(np.searchsorted(self._hashes, hashes), max(0, len(self._hashes) - 1))
        known = self._hashes[places] == hashes if len(self._hashes) else np.zeros(len(hashes), bool)
        text = np.repeat(np.arange(len(texts)), sizes)
        whose = np.full(len(texts), -1, np.int64)
        hits = np.flatnonzero(known)[::-1]  # the first is written last
        whose[text[hits]] = self._owners[places[hits]]
        return sizes, np.bincount(text[known], minlength=len(texts)), whose

    def _runs(self, texts: Sequence[str]) -> tuple[Hashes, Counts]:
        """Hashes of all runs, text after text, and the number of runs per text."""
        hashes, num_words = self._words.of(texts, with_signs=False)
        sizes = np.maximum(num_words - self._num_words + 1, 0)
        firsts = np.repeat(np.cumsum(num_words) - num_words, sizes) + _within(sizes)
        runs = np.zeros(len(firsts), np.uint64)
        for offset in range(self._num_words):
            runs = mix64(runs + np.uint64(1)) ^ hashes[firsts + offset]
        return mix64(runs), sizes


def _within(sizes: Counts) -> Counts:
    """0, 1, … for each size, one after another."""
    return np.arange(int(sizes.sum())) - np.repeat(np.cumsum(sizes) - sizes, sizes)


def in_parts(items: Iterable[Item], size: int = 1000) -> Iterator[list[Item]]:
    """Items in lists of `size`; the last may be shorter."""
    part: list[Item] = []
    for item in items:
        part.append(item)
        if len(part) == size:
            yield part
            part = []
    if part:
        yield part
