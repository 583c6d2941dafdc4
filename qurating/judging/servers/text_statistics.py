"""Readable statistics of a text, standardised so that one unit of each is one standard deviation.

The simulated judge prefers texts by weighted sums of these. The means and deviations were measured once, on 1,900
snippets of 450 to 900 characters of Python's language reference, docstrings, package READMEs, licences, source code and
data files; they are constants, so that a score depends on the text alone.
"""

import math
import re
import unicodedata
from collections.abc import Callable, Mapping
from typing import NamedTuple

from qurating.corpus.words import WORDS_OF_LETTERS, words_of
from qurating.judging.servers.word_order import ordered_pairs

_NUMBER = re.compile(r"\d[\d.,:]*")
_SENTENCE_END = re.compile(r"[.!?](?=[\s\"')\]]|$)|[。．！？।॥؟۔။។]")
_MARKS_OF_PROSE = ".,'\"?!-。．，、！？：；「」『』।॥؟۔،؛၊။។"
_NAME_INSIDE_SENTENCE = re.compile(r"(?<=[^\W\d_A-Z],\s)[A-Z][a-z]+|(?<=[^\W\d_A-Z]\s)[A-Z][a-z]+")
_EXPLAINS = re.compile(
    r"\b(?:because|therefore|thus|hence|for example|for instance|e\.g|i\.e|that is|this means|means that|in other words"
    r"|such as|so that|if|when|whether|which|usually|note that|consider|let us|suppose|however|although|instead)\b",
    re.IGNORECASE,
)
_FUNCTION = """
    a about after all also an and any are as at be because been before being both but by can could did do does each
    for from had has have he her his how if in into is it its may more most must no not of on one only or other our
    she should so some such than that the their them then there these they this to two up was we were what when where
    which while who will with would you your
"""
_LEGAL = """
    agreement applicable authors claim claims conditions contributor copies copyright copyrighted damages disclaimer
    distribute distribution express fitness granted grant hereby herein holder holders implied infringement liability
    liable licence license licensed licensee licensor merchantability notice notices patent permission permitted
    redistribute redistribution redistributions reserved rights royalty-free shall sublicense terms trademark
    warranties warranty work works
"""
_FUNCTION_WORDS, _LEGAL_WORDS = frozenset(_FUNCTION.split()), frozenset(_LEGAL.split())


class Parts(NamedTuple):
    """The common input of all statistics."""

    text: str
    words: list[str]
    lower_words: list[str]
    num_visible: int  # characters that are not whitespace, at least 1
    num_words: int  # at least 1


def _parts(text: str) -> Parts:
    text = unicodedata.normalize("NFC", text)
    words = words_of(text, WORDS_OF_LETTERS)
    visible = sum(map(len, text.split()))
    return Parts(text, words, [word.lower() for word in words], max(visible, 1), max(len(words), 1))


def mean_word_length(parts: Parts) -> float:
    """Letters per word, with the marks on them; in scripts without spaces each letter is a word."""
    return sum(map(len, parts.words)) / parts.num_words


def share_of_long_words(parts: Parts) -> float:
    """Share of words of nine letters or more."""
    return sum(len(word) >= 9 for word in parts.words) / parts.num_words


def share_of_letters(parts: Parts) -> float:
    """Share of visible characters that belong to words."""
    return sum(map(len, parts.words)) / parts.num_visible


def share_of_digits(parts: Parts) -> float:
    """Share of visible characters that are digits."""
    return sum(map(str.isdigit, parts.text)) / parts.num_visible


def share_of_symbols(parts: Parts) -> float:
    """Share of visible characters that are neither letters (with their accents) nor digits nor the marks of prose."""
    plain = sum(map(str.isalnum, parts.text)) + sum(map(parts.text.count, _MARKS_OF_PROSE))
    if not parts.text.isascii():
        plain += sum(unicodedata.category(character).startswith("M") for character in parts.text)
    return max(parts.num_visible - plain, 0) / parts.num_visible


def type_token_ratio(parts: Parts) -> float:
    """Share of different words among the first hundred: the variety of the vocabulary at any length."""
    first = parts.lower_words[:100]
    return len(set(first)) / max(len(first), 1)


def even_sentences(parts: Parts) -> float:
    """1 if sentences have 20 words on average, falling to 0 for fragments and for text without sentences."""
    length = parts.num_words / max(len(_SENTENCE_END.findall(parts.text)), 0.5)
    return math.exp(-(math.log(length / 20) ** 2))


def share_of_function_words(parts: Parts) -> float:
    """Share of words such as "the", "of" and "which", which sentences have and lists of terms lack."""
    return sum(word in _FUNCTION_WORDS for word in parts.lower_words) / parts.num_words


def function_words_in_order(parts: Parts) -> float:
    """Pairs of function words as sentences have them, per hundred words; 0 to 5, which most prose reaches.

    Shuffled words, random tokens, encoded data and languages other than English have about 0 (word_order.py).
    """
    return min(max(100 * ordered_pairs(parts.lower_words) / max(parts.num_words, 20), 0.0), 5.0)


def explanatory_markers(parts: Parts) -> float:
    """Words and phrases that reason or give examples, per hundred words; at most 8."""
    return min(100 * len(_EXPLAINS.findall(parts.text)) / max(parts.num_words, 20), 8.0)


def names_inside_sentences(parts: Parts) -> float:
    """Capitalised words after a lower-case one, per hundred words; at most 15."""
    return min(100 * len(_NAME_INSIDE_SENTENCE.findall(parts.text)) / max(parts.num_words, 20), 15.0)


def figures_in_prose(parts: Parts) -> float:
    """Numbers per hundred words, at most 10; 0 if the text has more than one number per four words, as tables have."""
    numbers = len(_NUMBER.findall(parts.text))
    return 0.0 if 4 * numbers > parts.num_words else min(100 * numbers / parts.num_words, 10.0)


def share_of_legal_words(parts: Parts) -> float:
    """Share of words that are typical of licences and terms of use."""
    return sum(word in _LEGAL_WORDS for word in parts.lower_words) / parts.num_words


class Standard(NamedTuple):
    """A statistic with its mean and standard deviation over ordinary text."""

    measure: Callable[[Parts], float]
    mean: float
    deviation: float


STATISTICS: dict[str, Standard] = {
    standard.measure.__name__: standard
    for standard in [
        Standard(mean_word_length, 5.5, 1.5),
        Standard(share_of_long_words, 0.16, 0.12),
        Standard(share_of_letters, 0.84, 0.12),
        Standard(share_of_digits, 0.02, 0.05),
        Standard(share_of_symbols, 0.075, 0.06),
        Standard(type_token_ratio, 0.6, 0.13),
        Standard(even_sentences, 0.6, 0.37),
        Standard(share_of_function_words, 0.27, 0.17),
        Standard(function_words_in_order, 3.2, 2.1),
        Standard(explanatory_markers, 1.7, 1.9),
        Standard(names_inside_sentences, 2.0, 3.3),
        Standard(figures_in_prose, 2.4, 3.6),
        Standard(share_of_legal_words, 0.012, 0.04),
    ]
}


def standardised(text: str) -> dict[str, float]:
    """Every statistic of a text by name, in standard deviations from its mean, clipped to ±3."""
    parts = _parts(text)
    return {
        name: max(-3.0, min(3.0, (standard.measure(parts) - standard.mean) / standard.deviation))
        for name, standard in STATISTICS.items()
    }


def weighted(statistics: Mapping[str, float], weights: Mapping[str, float]) -> float:
    """Σ weight · statistic."""
    return sum(weight * statistics[name] for name, weight in weights.items())
