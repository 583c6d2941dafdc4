"""From replies to weights of the labels and grades; replies without a judgment."""

import math
from typing import Any

import pytest
from judge_fixtures import logprob_reply, votes_reply

from qurating.judging.endpoint import replies
from qurating.judging.endpoint.replies import AnswerError


@pytest.mark.parametrize(
    ("token", "label"),
    [("A", 0), (" B", 1), ("B.", 1), ("**A**", 0), ("(B)", 1), ("a", None), ("AB", None), ("", None), (None, None)],
)
def test_labels(token: str | None, label: int | None) -> None:
    assert replies.label_of(token) == label


def test_weights_are_the_labels_probabilities_whatever_their_spelling() -> None:
    reply = logprob_reply({"B": math.log(0.5), " A": math.log(0.2), "A": math.log(0.1), "The": math.log(0.2)})
    assert replies.weights_from_logprobs(reply) == pytest.approx((0.3, 0.5))


def listing(*entries: tuple[str, float], sampled: int = 0) -> dict[str, Any]:
    """A reply that lists these tokens with their probabilities, also several times the same text."""
    top = [{"token": token, "logprob": math.log(p)} for token, p in entries]
    return {"choices": [{"logprobs": {"content": [{**top[sampled], "top_logprobs": top}]}}]}


@pytest.mark.parametrize("sampled", range(4))
@pytest.mark.parametrize(
    ("entries", "weights"),
    [
        ([("A", 0.40), ("B", 0.35), ("B", 0.20), ("A", 0.01)], (0.41, 0.55)),
        ([("A", 0.55), ("B", 0.30), ("A", 0.05), ("B", 0.02)], (0.60, 0.32)),
        ([("A", 0.40), ("B", 0.20), ("<0x42>", 0.25), ("<0x41>", 0.01)], (0.41, 0.45)),
        ([("▁A", 0.2), ("ĠB", 0.3), ('"B', 0.1), ("A)", 0.05)], (0.25, 0.4)),
        ([("b", 0.35), ("A", 0.30), ("B", 0.25), (" a", 0.02)], (0.32, 0.6)),
        ([("(B", 0.4), ("**A", 0.3), ("Both", 0.1), ("AB", 0.1)], (0.3, 0.4)),
    ],
)
def test_every_token_that_spells_a_label_counts_once(
    entries: list[tuple[str, float]], weights: tuple[float, float], sampled: int
) -> None:
    assert replies.weights_from_logprobs(listing(*entries, sampled=sampled)) == pytest.approx(weights)


def test_a_sampled_token_beyond_the_listed_ones_counts() -> None:
    reply = listing(("A", 0.4), ("B", 0.3))
    reply["choices"][0]["logprobs"]["content"][0] |= {"token": " B", "logprob": math.log(0.2)}
    assert replies.weights_from_logprobs(reply) == pytest.approx((0.4, 0.5))


def test_a_label_that_is_not_listed_and_may_be_as_likely_is_no_judgment() -> None:
    assert replies.weights_from_logprobs(listing(("A", 0.8), ("The", 0.1))) == pytest.approx((0.8, 0.0))
    for reply in (listing(("A", 0.5)), listing(("The", 0.4), ("B", 0.3), ("It", 0.15))):
        with pytest.raises(AnswerError, match="may be nearly as likely"):
            replies.weights_from_logprobs(reply)


def test_a_label_beyond_the_listed_tokens_has_no_weight() -> None:
    assert replies.weights_from_logprobs(logprob_reply({"A": -0.01, "The": -5.0})) == pytest.approx(
        (math.exp(-0.01), 0)
    )


def test_the_answer_counts_where_no_alternatives_are_listed() -> None:
    reply = logprob_reply({"B": -0.1})
    reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"] = []
    assert replies.weights_from_logprobs(reply) == pytest.approx((0.0, math.exp(-0.1)))


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (logprob_reply({"Both": -0.01, "Sure": -6.0}), "neither label"),
        (logprob_reply({"Both": -0.01, "A": -9.0, "B": -7.0}), "neither label"),
        (logprob_reply({"A": math.nan}), "neither label"),
        (votes_reply("A"), "no log-probabilities"),
        ({"choices": []}, "not a chat completion"),
        ({"error": "busy"}, "not a chat completion"),
        ([], "not a chat completion"),
        ({"choices": [{"logprobs": {"content": []}}]}, "no log-probabilities"),
    ],
)
def test_replies_without_a_judgment(reply: dict, reason: str) -> None:
    with pytest.raises(AnswerError, match=reason):
        replies.weights_from_logprobs(reply)


def choice(content: str | None, finish: str, **message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content, **message}, "finish_reason": finish}]}


@pytest.mark.parametrize(
    ("reply", "says"),
    [
        (choice(None, "content_filter"), "the endpoint filtered the answer"),
        (choice(None, "stop", refusal="I cannot help with that"), "the judge refused to answer: I cannot help"),
        (choice("", "length"), "cut off before its first word .*judge.request_options"),
        (choice("Sure", "length"), r"'Sure' \(finish_reason length\)"),
    ],
)
def test_filters_refusals_and_cut_answers_are_named(reply: dict[str, Any], says: str) -> None:
    for read in (replies.vote_of, replies.grades_from_votes, replies.weights_from_logprobs):
        with pytest.raises(AnswerError, match=says):
            read(reply)
    with pytest.raises(AnswerError, match=says):
        replies.weights_from_votes(reply, 1)


def test_votes_need_a_majority_of_labels() -> None:
    assert replies.weights_from_votes(votes_reply("A", "B", "B", None, "I"), 5) == (1, 2)
    with pytest.raises(AnswerError, match="half"):
        replies.weights_from_votes(votes_reply("A", "B", None, "I"), 4)
    with pytest.raises(AnswerError, match="half"):  # an endpoint that gives fewer choices than asked for
        replies.weights_from_votes(votes_reply("A"), 20)


@pytest.mark.parametrize(
    ("content", "grade"),
    [("7", 7), (" 10.", 10), ("**3**", 3), ("8/10", 8), ("0", None), ("11", None), ("I say 7", None), (None, None)],
)
def test_grades(content: str | None, grade: int | None) -> None:
    assert replies.grade_of(content) == grade


def test_grades_of_choices() -> None:
    reply = {"choices": [{"message": {"content": said}} for said in ("7", "well", "9")]}
    assert replies.grades_from_votes(reply) == [7.0, 9.0]
    with pytest.raises(AnswerError, match="no grade"):
        replies.grades_from_votes({"choices": [{"message": {"content": "good"}}]})
