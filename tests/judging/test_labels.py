"""The label in the words of an answer, and patterns that accept more of them."""

import pytest
from repository import ROOT

from qurating.judging.endpoint.replies import AnswerError
from qurating.judging.labels import COMMON_FORMS, NO_LABEL, OTHER_FORM, TOO_SLOW, Labels, check


@pytest.mark.parametrize(
    ("answer", "label"), [("A", 0), (" B", 1), ("B.", 1), ("(B)", 1), ('"A"\n', 0), ("A)", 0), ("[B]:", 1)]
)
def test_a_label_alone_is_read(answer: str, label: int) -> None:
    assert Labels()(answer) == label


OTHER_FORMS = [("a", 0), ("Text A", 0), ("Answer: A", 0), ("**A**", 0), ("The answer is text B.", 1), ("`b`", 1)]
OTHER_FORMS += [("**Answer:** Text B", 1), ("text_a", 0), ("$\\boxed{\\text{B}}$", 1), ("\n**B**\n", 1)]


@pytest.mark.parametrize(("answer", "label"), OTHER_FORMS)
def test_other_forms_are_refused_by_default_and_accepted_by_the_documented_pattern(answer: str, label: int) -> None:
    with pytest.raises(AnswerError) as refused:
        Labels()(answer)
    assert refused.value.reason == OTHER_FORM
    assert Labels(COMMON_FORMS)(answer) == label


@pytest.mark.parametrize("answer", ["**", "Text", "Answer", "The answer is"])
def test_the_first_token_of_another_form_is_named_as_one(answer: str) -> None:
    with pytest.raises(AnswerError, match="another form"):
        Labels()(answer)


@pytest.mark.parametrize(
    "answer", ["", "AB", "Both", "A is better", "A or B", "Text A or text B", "I say A", "Neither", "C", "A\nB", "cab"]
)
def test_what_names_no_label_or_both(answer: str) -> None:
    for pattern in (None, COMMON_FORMS):
        with pytest.raises(AnswerError) as refused:
            Labels(pattern)(answer)
        assert refused.value.reason == NO_LABEL


def test_the_documented_pattern_is_this_one() -> None:
    assert f'judge.label_pattern="{COMMON_FORMS}"' in (ROOT / "docs" / "judging.md").read_text(encoding="utf-8")


def test_a_pattern_matches_the_whole_answer_and_its_groups_name_one_label() -> None:
    assert Labels(r"(?s).*Winner: ([AB])")("A is long.\nWinner: B\n") == 1
    for answer in ("Winner: B, or not", "Winner: C"):
        with pytest.raises(AnswerError, match="names no label"):
            Labels(r"(?s).*Winner: ([AB])")(answer)
    either = Labels(r"\*\*([AB])\*\*|([AB])( beats ([AB]))?")
    assert (either("**B**"), either("A")) == (1, 0)
    with pytest.raises(AnswerError, match="names no label"):
        either("A beats B")


@pytest.mark.parametrize(
    ("pattern", "says"),
    [
        ("([AB]", "no regular expression"),
        ("(" * 900, "no regular expression"),
        ("Text [AB]", "no group"),
        ("([AB])" + "x?" * 500, "1,006 characters, more than 1,000"),
        ("", "in quotes"),
        (["AB"], "in quotes"),
        (r"((?:A|AA)+)\1([AB])", "takes too long"),
        ("(?:A|A|A)+([AB])c", "takes too long"),
        ("(A)", "reads `A` as A and `B` as no label"),
        (r"(?i).*\b([ab])\b.*", "`A is a better text.` as A and `B is a better text.` as A"),
        ("(?i)(?:text )?(a)|(B)", "reads `Text A` as A and `Text B` as no label"),
    ],
)
def test_patterns_that_cannot_be_used(pattern: str, says: str) -> None:
    with pytest.raises(ValueError, match=says):
        check(pattern)


def test_a_match_without_an_end_is_given_up() -> None:
    slow = Labels(r"(?:\xe9|\xe9|\xe9)+([AB])c")
    with pytest.raises(AnswerError) as refused:
        slow("é" * 2000)
    assert refused.value.reason == TOO_SLOW
