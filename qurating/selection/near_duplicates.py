"""Near-duplicate texts: MinHash signatures and their bands, with rensa."""

import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import rensa

_WORD = re.compile(r"\w+")


class Near(NamedTuple):
    """Text `place` is nearly the same as the earlier text `earlier`, with an estimated `similarity` (Jaccard)."""

    place: int
    earlier: int
    similarity: float


def find_near_duplicates(
    texts: Iterable[str], *, threshold: float, num_words: int, num_hashes: int, num_bands: int
) -> list[Near]:
    """The texts with an earlier near-duplicate, each with the most similar earlier text.

    A text is compared with the earlier texts that are kept, so the first text of a cluster remains. Similarity is the
    Jaccard index of the sets of runs of `num_words` words, in lower case, without signs; it is estimated, with a
    standard error of at most 1 / (2 √num_hashes). Texts that share no band of hashes are not compared: two texts of
    similarity s share one with probability 1 − (1 − s^r)^b, for b bands of r hashes. Texts without words are skipped.

    Args:
        texts: in order; about 5 bytes per hash and text are held in memory.
        threshold: of the similarity, in (0, 1].

    Raises:
        ValueError: a threshold outside (0, 1], or bands that do not divide the hashes.
    """
    if not 0 < threshold <= 1:
        raise ValueError(f"the similarity of near-duplicates must lie in (0, 1], not {threshold}")
    if num_words < 1 or num_bands < 1 or num_hashes % num_bands:
        raise ValueError(f"{num_bands} bands do not divide {num_hashes} hashes of runs of {num_words} words")
    bands = rensa.RMinHashLSH(threshold=threshold, num_perm=num_hashes, num_bands=num_bands)
    kept: dict[int, rensa.RMinHash] = {}
    found = []
    for place, text in enumerate(texts):
        runs = runs_of_words(text, num_words)
        if not runs:
            continue
        own = rensa.RMinHash(num_perm=num_hashes, seed=0)
        own.update(runs)
        most_similar = max(((own.jaccard(kept[other]), -other) for other in bands.query(own)), default=(0.0, 0))
        if most_similar[0] >= threshold:
            found.append(Near(place, -most_similar[1], most_similar[0]))
        else:
            bands.insert(place, own)
            kept[place] = own
    return found


def runs_of_words(text: str, num_words: int) -> list[str]:
    """All runs of `num_words` words, in lower case, without signs; a shorter text is one run."""
    words: Sequence[str] = _WORD.findall(text.lower())
    return [" ".join(words[i : i + num_words]) for i in range(max(1, len(words) - num_words + 1))] if words else []
