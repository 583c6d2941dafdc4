"""Near-duplicates: planted ones are found, and others are not."""

import random
from typing import Any

import pytest
from subset_example import sentence

from qurating.selection.near_duplicates import find_near_duplicates, runs_of_words


def test_planted_copies_are_found_and_others_are_not() -> None:
    rng = random.Random()
    texts = [sentence(rng, 100) for _ in range(200)]
    planted = []
    for place in range(0, 200, 10):
        words = texts[place].split()
        words[rng.randrange(100)] = "changed"  # of 96 runs of five words at most 5 differ: 0.9 alike
        planted.append((len(texts), place))
        texts.append(" ".join(words))
    texts += ["", " . ", "two words", "Two, words!"]
    found = find_near_duplicates(iter(texts), threshold=0.75, num_words=5, num_hashes=128, num_bands=32)
    assert [(near.place, near.earlier) for near in found] == [*planted, (223, 222)]
    for near in found[:-1]:
        a, b = ({*runs_of_words(texts[place], 5)} for place in (near.place, near.earlier))
        assert near.similarity == pytest.approx(len(a & b) / len(a | b), abs=0.18)  # four standard errors
    for bad in ({"threshold": 0.0}, {"num_bands": 7}, {"num_words": 0}):
        settings: dict[str, Any] = {"threshold": 0.8, "num_words": 5, "num_hashes": 128, "num_bands": 16} | bad
        with pytest.raises(ValueError, match=r"near-duplicates must lie|do not divide"):
            find_near_duplicates(texts, **settings)
