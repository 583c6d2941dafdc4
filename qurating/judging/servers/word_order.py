"""The order of English function words: what tells a sentence from the same words shuffled, and from other languages.

In a sentence a preposition is often followed by a determiner ("of the"), a pronoun by a verb ("it is"), and hardly ever
a determiner by a preposition ("the of"). In shuffled words both kinds of pairs are about as frequent.
"""

import itertools
from collections.abc import Sequence

_WORDS_OF_CLASS = {
    "determiner": "the a an this these those his her its our their your each any some no every",
    "preposition": "of in on at by for from with into as to about after before between through without under over"
    " against during",
    "modal": "can could may might must shall should will would cannot",
    "pronoun": "he she it we they you i who which that there",
    "verb": "is are was were be been being has have had do does did",
    "conjunction": "and or but if when because while whether so than where",
    "adverb": "not only also",
}
_CLASS = {word: name for name, words in _WORDS_OF_CLASS.items() for word in words.split()}
_FOLLOWS = {
    "determiner": set[str](),
    "preposition": {"determiner"},
    "modal": {"verb", "adverb"},
    "pronoun": {"modal", "verb"},
    "verb": {"determiner", "adverb", "preposition"},
    "conjunction": {"determiner", "pronoun", "preposition"},
    "adverb": {"verb", "determiner", "preposition"},
}
_HARDLY_FOLLOWS = {
    "determiner": {"determiner", "preposition", "modal", "pronoun", "verb", "conjunction"},
    "preposition": {"modal", "verb", "conjunction", "preposition"},
    "modal": {"determiner", "preposition", "conjunction", "modal"},
    "pronoun": set[str](),
    "verb": {"modal"},
    "conjunction": {"modal"},
    "adverb": {"modal"},
}


def ordered_pairs(lower_words: Sequence[str]) -> int:
    """Adjacent function words that follow each other as in a sentence, minus those that hardly ever do."""
    classes = [_CLASS.get(word) for word in lower_words]
    found = 0
    for first, second in itertools.pairwise(classes):
        if first and second:
            found += (second in _FOLLOWS[first]) - (second in _HARDLY_FOLLOWS[first])
    return found
