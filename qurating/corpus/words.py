"""The words of a text, in any script.

A word is a run of letters, digits and underscores, with the marks (accents, vowel signs) and joiners that follow them.
Scripts that write no spaces between words have no such runs. There each letter with its marks is a word of its own:
Chinese, Japanese, Thai, Lao, Khmer, Burmese and others (`SCRIPTS_WITHOUT_SPACES`). Korean has spaces and keeps its
words. Composed and decomposed forms of a character (NFC, NFD) give the same word.
"""

import re
import unicodedata
from typing import NamedTuple

import regex  # knows scripts and marks, which `re` does not; its version, not Python's, decides the version of Unicode

SCRIPTS_WITHOUT_SPACES = (
    *("Han", "Hiragana", "Katakana", "Bopomofo", "Yi", "Thai", "Lao", "Khmer", "Myanmar"),
    *("Tai_Le", "New_Tai_Lue", "Tai_Tham", "Tai_Viet", "Ahom", "Javanese", "Balinese"),
)


class Rule(NamedTuple):
    """What counts as a word: a pattern for plain texts, and one that finds the same in them and fits any script."""

    plain: re.Pattern[str]
    any_script: "regex.Pattern[str]"


# Characters without marks, joiners, scripts without spaces and decomposed forms: ASCII, most Latin, Greek and Cyrillic,
# Vietnamese, Korean, common signs, emoji. For lines of these alone `re` does, in less than a third of the time.
_PLAIN = re.compile(
    "[\0-\x7f]*+(?:[\x80-\u02ff\u0388-\u03ff\u0400-\u0482\u048a-\u052f\u1e00-\u1eff\u2010-\u2027"
    "\u2030-\u205e\u20a0-\u20bf\u2190-\u22ff\u2500-\u27bf\uac00-\ud7a3\ufffd\U0001f300-\U0001faff]+[\0-\x7f]*+)*+"
)

_FOLLOWS = r"\p{M}\u200c\u200d"  # marks, and the two joiners, which Persian and the scripts of India have within words
_SCRIPTS = "".join(rf"\p{{sc={script}}}" for script in SCRIPTS_WITHOUT_SPACES)
_SHARED = r"\p{scx=Han}\p{scx=Hiragana}"  # such as the long vowel of both kana
_UNSPACED = rf"[[{_SCRIPTS}{_SHARED}]&&[\p{{L}}\p{{Nl}}\p{{No}}]]"


def _any_script(characters: str, joined_by: str = "", others: str = "") -> "regex.Pattern[str]":
    """Runs of some characters, or single ones of scripts without spaces; runs may be joined; `others` are words too."""
    run = f"[[{characters}]--{_UNSPACED}][[{characters}{_FOLLOWS}]--{_UNSPACED}]*+"
    joined = f"(?:{joined_by}{run})*+" if joined_by else ""
    # the look ahead is only for speed: it passes over signs and spaces quickly
    return regex.compile(f"(?V1)(?=[{characters}])(?:{run}{joined}|{_UNSPACED}[{_FOLLOWS}]*+){others}")


_WORD, _SIGN = r"\p{L}\p{N}_", r"[^\p{L}\p{N}_\s\x1c-\x1f]"  # marks that follow no letter are signs
WORDS = Rule(re.compile(r"\w+"), _any_script(_WORD))
WORDS_AND_RUNS_OF_SIGNS = Rule(re.compile(r"\w+|[^\w\s]+"), _any_script(_WORD, others=f"|{_SIGN}+"))
WORDS_AND_SIGNS = Rule(re.compile(r"\w+|[^\w\s]"), _any_script(_WORD, others=f"|{_SIGN}"))
WORDS_OF_LETTERS = Rule(  # without digits; with an apostrophe or a hyphen inside
    re.compile(r"[^\W\d_]+(?:['’-][^\W\d_]+)*"), _any_script(r"\p{L}\p{Nl}\p{No}", joined_by="['’-]")
)


def words_of(text: str, rule: Rule = WORDS) -> list[str]:
    """The words of a text in order, composed (NFC)."""
    if text.isascii() or _PLAIN.fullmatch(text):
        return rule.plain.findall(text)
    found: list[str] = []
    for line in text.split("\n"):  # no word spans two; in English text a line in a hundred has an emoji or a name
        if line.isascii() or _PLAIN.fullmatch(line):
            found += rule.plain.findall(line)
        else:
            found += rule.any_script.findall(unicodedata.normalize("NFC", line))
    return found
