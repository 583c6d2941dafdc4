"""The words of texts in many scripts."""

import re
import sys
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qurating.corpus import words
from qurating.corpus.words import WORDS, WORDS_AND_RUNS_OF_SIGNS, WORDS_AND_SIGNS, WORDS_OF_LETTERS, Rule, words_of

RULES = [WORDS, WORDS_AND_RUNS_OF_SIGNS, WORDS_AND_SIGNS, WORDS_OF_LETTERS]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("It's 3.5 m_2, naïve — “so”.", "It s 3 5 m_2 naïve so"),
        ("今天天气好，我用Python 3写。", "今 天 天 气 好 我 用 Python 3 写"),
        ("東京タワーは人々の々だ", "東 京 タ ワ ー は 人 々 の 々 だ"),
        ("が", "が"),  # NFD: one letter and its mark
        ("ภาษาไทย ที่ ๑๒", "ภ า ษ า ไ ท ย ที่ ๑๒"),
        ("ພາສາລາວ", "ພ າ ສ າ ລ າ ວ"),
        ("ភាសាខ្មែរ", "ភា សា ខ្ មែ រ"),
        ("မြန်မာ", "မြ န် မာ"),
        ("한국어 문장은 띄어 쓴다", "한국어 문장은 띄어 쓴다"),
        ("यह हिन्दी वाक्य है।", "यह हिन्दी वाक्य है"),
        ("தமிழ் மொழி", "தமிழ் மொழி"),
        ("اللُّغَةُ العَرَبِيَّة", "اللُّغَةُ العَرَبِيَّة"),
        ("می‌خواهم بروم", "می‌خواهم بروم"),
        ("שָׁלוֹם עולם", "שָׁלוֹם עולם"),
        ("Русский язык, Ελληνικά", "Русский язык Ελληνικά"),
        ("tiếng Việt", "tiếng Việt"),
        ("བོད་སྐད་", "བོད སྐད"),  # Tibetan separates syllables by a sign
        ("❤️ 👩‍💻", ""),
    ],
    ids=str,
)
def test_words_are_not_cut_at_marks_and_not_joined_without_spaces(text: str, expected: str) -> None:
    composed = [unicodedata.normalize("NFC", word) for word in expected.split()]
    for form in ("NFC", "NFD"):
        assert words_of(unicodedata.normalize(form, text)) == composed


def test_other_rules_add_signs_or_leave_out_digits() -> None:
    text = "的确!!  नमस्ते… 4a ❤️ l'été-là"
    runs = "的|确|!!|नमस्ते|…|4a|❤️|l|'|été|-|là"
    assert "|".join(words_of(text, WORDS_AND_RUNS_OF_SIGNS)) == runs
    assert "|".join(words_of(text, WORDS_AND_SIGNS)) == runs.replace("!!", "!|!").replace("❤️", "❤|\ufe0f")
    assert words_of(text, WORDS_OF_LETTERS) == ["的", "确", "नमस्ते", "a", "l'été-là"]


@pytest.mark.parametrize("rule", RULES)
@given(
    st.text(st.one_of(st.characters(max_codepoint=127), st.sampled_from("éß—“”’жЖΩự글²½ª\xa0\x85\x1c")), max_size=40)
)
def test_plain_texts_have_the_words_that_re_finds(rule: Rule, text: str) -> None:
    assert words_of(text, rule) == rule.plain.findall(text) == rule.any_script.findall(text)


@pytest.mark.parametrize("rule", RULES)
@given(st.text(st.sampled_from("ab1_ \n'-é\u0301\u200dह\u093f好。ท\u0e35が\u3099🤗\ufe0f\u2028"), max_size=30))
def test_lines_do_not_change_words(rule: Rule, text: str) -> None:
    assert words_of(text, rule) == rule.any_script.findall(unicodedata.normalize("NFC", text))


def test_the_plain_characters_need_no_more_than_re() -> None:
    plain = [chr(code) for code in range(sys.maxunicode + 1) if words._PLAIN.fullmatch(chr(code))]
    assert len(plain) > 10_000
    for rule in RULES:
        # one by one, and between letters
        for text in (" ".join(plain), "".join(f"a{character}b " for character in plain)):
            assert rule.any_script.findall(text) == rule.plain.findall(text)
    for character in plain:
        assert unicodedata.normalize("NFC", character) == character
        assert unicodedata.normalize("NFC", f"a{character}") == f"a{character}"


def test_letters_and_digits_are_those_of_re() -> None:
    """Of the characters that Python's version of Unicode knows, as long as no mark or script is special."""
    known = [chr(code) for code in range(sys.maxunicode + 1) if unicodedata.category(chr(code)) not in ("Cn", "Cs")]
    assert len(known) > 100_000
    stable = [c for c in known if unicodedata.normalize("NFC", c) == c]
    assert words_of(" ".join(stable) + "一") == [*re.findall(r"\w", " ".join(stable)), "一"]
    no_mark = [c for c in stable if not unicodedata.category(c).startswith("M")]
    signs = " ".join(no_mark)
    assert words_of(signs + "一", WORDS_AND_RUNS_OF_SIGNS) == [*re.findall(r"\w|[^\w\s]", signs), "一"]
