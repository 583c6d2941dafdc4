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
    found, short = find_near_duplicates(iter(texts), threshold=0.75, num_words=5, num_hashes=128, num_bands=32)
    assert [(near.place, near.earlier) for near in found] == planted
    assert short == []
    for near in found:
        a, b = ({*runs_of_words(texts[place], 5)} for place in (near.place, near.earlier))
        assert near.similarity == pytest.approx(len(a & b) / len(a | b), abs=0.18)  # four standard errors
    for bad in ({"threshold": 0.0}, {"num_bands": 7}, {"num_words": 0}):
        settings: dict[str, Any] = {"threshold": 0.8, "num_words": 5, "num_hashes": 128, "num_bands": 16} | bad
        with pytest.raises(ValueError, match=r"near-duplicates must lie|do not divide"):
            find_near_duplicates(texts, **settings)


# forty letters each, from which texts without spaces are drawn
ALPHABETS = {
    "Chinese": "的一是不了人我在有他这中大来上国个到说们为子和你地出道也时年得就那要下以生会自",
    "Japanese": "あいうえおかきくけこさしすせそタチツテトナニヌネノ日本語東京人山川田中大小上下年月",
    "Thai": "กขคงจฉชซญดตถทธนบปผฝพฟภมยรลวศษสหอฮะาเแโใไ",
}


@pytest.mark.parametrize("language", ALPHABETS)
def test_copies_in_scripts_without_spaces_are_found(language: str) -> None:
    rng = random.Random()
    texts = ["".join(rng.choices(ALPHABETS[language], k=200)) for _ in range(80)]
    copies = [text[:100] + "x" + text[101:] for text in texts[:40]]  # of 196 runs 5 differ
    found, short = find_near_duplicates([*texts, *copies], threshold=0.8, num_words=5, num_hashes=128, num_bands=16)
    assert [(near.place, near.earlier) for near in found] == [(80 + place, place) for place in range(40)]
    assert short == []


def test_texts_of_few_words_are_compared_as_they_are() -> None:
    texts = [
        ", 5)",
        ".5])",
        "",
        " . ",
        "two words",
        "Two, words!",
        "two \n words",
        " .",
        " ",
        "今天好",
        "今天好。",
        "é",
        "e\u0301",
    ]
    found, short = find_near_duplicates(texts, threshold=0.8, num_words=5, num_hashes=128, num_bands=16)
    assert [(near.place, near.earlier, near.similarity) for near in found] == [
        (6, 4, 1.0),
        (7, 3, 1.0),
        (8, 2, 1.0),
        (12, 11, 1.0),
    ]
    assert short == [*range(len(texts))]
    found, short = find_near_duplicates(
        ["a b c d e", "a b, c d. E"], threshold=1, num_words=5, num_hashes=8, num_bands=8
    )
    assert ([near.place for near in found], short) == ([1], [])
