"""Near-duplicate texts: MinHash signatures and their bands, with rensa."""

import hashlib
import unicodedata
from collections.abc import Iterable
from typing import NamedTuple

import rensa

from qurating.corpus.words import words_of


class Near(NamedTuple):
    """Text `place` is nearly the same as the earlier text `earlier`, with an estimated `similarity` (Jaccard)."""

    place: int
    earlier: int
    similarity: float


class Found(NamedTuple):
    """The near-duplicates, and the places of the texts with too few words, which were compared as they are."""

    near: list[Near]
    short: list[int]


def find_near_duplicates(
    texts: Iterable[str], *, threshold: float, num_words: int, num_hashes: int, num_bands: int
) -> Found:
    """The texts with an earlier near-duplicate, each with the most similar earlier text.

    A text is compared with the earlier texts that are kept, so the first text of a cluster remains. Similarity is the
    Jaccard index of the sets of runs of `num_words` words, in lower case, without signs; it is estimated, with a
    standard error of at most 1 / (2 √num_hashes). Texts that share no band of hashes are not compared: two texts of
    similarity s share one with probability 1 − (1 − s^r)^b, for b bands of r hashes.

    A text of fewer than `num_words` words has no run. It is compared with the other such texts as it is, with signs and
    case, but for the amount of whitespace: it is a near-duplicate, of similarity 1, only of the very same text.

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
    seen: dict[bytes, int] = {}  # short texts by their hash
    found, short = [], []
    for place, text in enumerate(texts):
        runs = runs_of_words(text, num_words)
        if not runs:
            short.append(place)
            earlier = seen.setdefault(_digest(text), place)
            if earlier < place:
                found.append(Near(place, earlier, 1.0))
            continue
        own = rensa.RMinHash(num_perm=num_hashes, seed=0)
        own.update(runs)
        most_similar = max(((own.jaccard(kept[other]), -other) for other in bands.query(own)), default=(0.0, 0))
        if most_similar[0] >= threshold:
            found.append(Near(place, -most_similar[1], most_similar[0]))
        else:
            bands.insert(place, own)
            kept[place] = own
    return Found(found, short)


def runs_of_words(text: str, num_words: int) -> list[str]:
    """All runs of `num_words` words, in lower case, without signs; none if the text has fewer words."""
    words = words_of(text.lower())
    return [" ".join(words[i : i + num_words]) for i in range(len(words) - num_words + 1)]


def _digest(text: str) -> bytes:
    """A hash of a text with single spaces, composed."""
    return hashlib.blake2b(unicodedata.normalize("NFC", " ".join(text.split())).encode(), digest_size=16).digest()
