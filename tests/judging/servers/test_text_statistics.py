"""The text statistics of the simulated judge."""

import itertools
import pydoc_data.topics
import statistics
import unicodedata

import pytest
from judge_fixtures import CRITERIA

from qurating.judging.servers import text_statistics
from qurating.judging.servers.text_statistics import STATISTICS, standardised, weighted


def test_no_criterion_stands_for_another() -> None:
    texts = list(
        itertools.islice((body for _, body in sorted(pydoc_data.topics.topics.items()) if len(body) > 500), 60)
    )
    scores = {
        name: [weighted(standardised(text[:800]), criterion["simulated_weights"]) for text in texts]
        for name, criterion in CRITERIA.items()
    }
    for one, other in itertools.combinations(scores, 2):
        assert abs(statistics.correlation(scores[one], scores[other])) < 0.8, (one, other)


@pytest.mark.parametrize("text", ["", "\n", "7", "漢字かな", "🙂" * 50, "a" * 5000, "\0\ud800", "1,2\n" * 300])
def test_statistics_of_any_text_are_finite(text: str) -> None:
    found = standardised(text)
    assert found.keys() == STATISTICS.keys()
    assert all(-3 <= value <= 3 for value in found.values())


def test_statistics_by_hand() -> None:
    text = "In 1905 the young Einstein wrote because nobody else did."
    measured = {name: standard.measure(_parts(text)) for name, standard in STATISTICS.items()}
    assert measured["share_of_digits"] == pytest.approx(4 / 48)
    assert measured["mean_word_length"] == pytest.approx(43 / 9)
    assert measured["type_token_ratio"] == 1.0
    assert measured["explanatory_markers"] == pytest.approx(100 / 20)  # short texts count as 20 words
    assert measured["names_inside_sentences"] == pytest.approx(100 / 20)
    assert measured["figures_in_prose"] == 10.0  # 11.1, at most 10
    assert measured["share_of_symbols"] == 0.0


@pytest.mark.parametrize(
    ("text", "num_words", "num_sentences"),
    [
        ("今天天气很好，我们去公园吧。你呢？", 14, 2),
        ("यह हिन्दी में लिखा है। वह भी।", 7, 2),
        ("ภาษาไทยที่ดี", 9, 0),
        ("Et voilà l'été.", 3, 1),
    ],
)
def test_scripts_without_spaces_have_words_and_marks_are_no_symbols(
    text: str, num_words: int, num_sentences: int
) -> None:
    for form in ("NFC", "NFD"):
        parts = _parts(unicodedata.normalize(form, text))
        assert parts.num_words == num_words
        assert text_statistics.share_of_symbols(parts) == 0
        assert len(text_statistics._SENTENCE_END.findall(parts.text)) == num_sentences


def _parts(text: str) -> text_statistics.Parts:
    return text_statistics._parts(text)
