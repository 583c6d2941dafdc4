"""From replies to weights of the labels and grades; replies without a judgment."""

import math
from typing import Any

import pytest
from judge_fixtures import logprob_reply, votes_reply

from qurating.judging.endpoint import replies
from qurating.judging.endpoint.replies import AnswerError
from qurating.judging.labels import Labels

READ = Labels()


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
    for read in (replies.grades_from_votes, replies.weights_from_logprobs):
        with pytest.raises(AnswerError, match=says):
            read(reply)
    with pytest.raises(AnswerError, match=says):
        replies.vote_of(reply, READ)
    with pytest.raises(AnswerError, match=says):
        replies.weights_from_votes(reply, 1, READ)


def test_votes_need_a_majority_of_labels() -> None:
    assert replies.weights_from_votes(votes_reply("A", "B", "B", None, "I"), 5, READ) == (1, 2)
    with pytest.raises(AnswerError, match="half"):
        replies.weights_from_votes(votes_reply("A", "B", None, "I"), 4, READ)
    with pytest.raises(AnswerError, match="half"):  # an endpoint that gives fewer choices than asked for
        replies.weights_from_votes(votes_reply("A"), 20, READ)


def test_the_most_common_reason_is_named_with_an_example() -> None:
    reply = votes_reply("A", "Neither", "**A**", "**B**", "B")
    with pytest.raises(AnswerError, match=r"half of the votes name a label: .* another form .*'\*\*A\*\*'"):
        replies.weights_from_votes(reply, 5, READ)


@pytest.mark.parametrize(("content", "grade"), [("7", 7), (" 10.", 10), ("**3**", 3), ("8/10", 8)])
def test_grades(content: str, grade: int) -> None:
    assert replies.grade_of(content) == grade


@pytest.mark.parametrize("content", ["0", "11", "I say 7", ""])
def test_answers_without_a_grade(content: str) -> None:
    with pytest.raises(AnswerError, match="no grade"):
        replies.grade_of(content)


def test_grades_of_choices() -> None:
    reply = {"choices": [{"message": {"content": said}} for said in ("7", "well", "9")]}
    assert replies.grades_from_votes(reply) == [7.0, 9.0]
    with pytest.raises(AnswerError, match="no grade"):
        replies.grades_from_votes({"choices": [{"message": {"content": "good"}}]})


def thought_of(content: Any, finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    return {"message": {"role": "assistant", "content": content, **message}, "finish_reason": finish}


FINISHED = [
    thought_of("<think>\nText A is better. A\n</think>\n\nB"),
    thought_of("Text A is better. Answer: A\n</think>\n\nB"),  # the template has opened the thought
    thought_of("<think>the text says </think> A, but</think>B"),  # a judged text quotes the tag
    thought_of("<think></think>B."),
    thought_of("<Thinking>A</Thinking> B"),
    thought_of("[THINK]A[/THINK]B"),
    thought_of("<|channel|>analysis<|message|>A<|end|><|start|>assistant<|channel|>final<|message|>B"),
    thought_of("B", reasoning_content="A"),
    thought_of("B", reasoning="Answer: A", reasoning_content=None),
    thought_of("\nB\n", finish=None, reasoning_details=[{"type": "reasoning.text", "text": "A"}]),
    thought_of([{"type": "thinking", "thinking": [{"type": "text", "text": "A"}]}, {"type": "text", "text": "B"}]),
]


@pytest.mark.parametrize("choice", FINISHED)
def test_the_answer_is_what_follows_the_thought(choice: dict[str, Any]) -> None:
    reply = {"choices": [choice]}
    for thinks in (True, False):
        assert replies.vote_of(reply, READ, thinks) == (0, 1)
        assert replies.weights_from_votes({"choices": [choice] * 3}, 4, READ, thinks) == (0, 3)
    assert replies.shows_thought(reply)


CUT = [
    thought_of("", "length"),
    thought_of(None, "length", reasoning_content="Text A is"),
    thought_of("A", "length", reasoning_content="Text A is"),  # perhaps the article: "A close call"
    thought_of("<think>\nA", "length"),
    thought_of("<think>\nA", "stop"),
    thought_of("<think>\nA", None),
    thought_of("<think>\nOf the texts</think>A", "length"),
    thought_of("<think>x</think>A <think>hm"),
    thought_of("Answer: A", "length"),  # the thought, without a tag
    thought_of("A", "length"),
    thought_of([{"type": "thinking", "thinking": "A"}], "length"),
]


@pytest.mark.parametrize("choice", CUT)
@pytest.mark.parametrize("pattern", [None, r"(?s).*\b([AB])"])
def test_a_label_of_a_thought_that_was_cut_off_is_no_answer(choice: dict[str, Any], pattern: str | None) -> None:
    with pytest.raises(AnswerError, match="tokens ran out within the thought"):
        replies.vote_of({"choices": [choice]}, Labels(pattern), thinks=True)
    with pytest.raises(AnswerError, match=r"half of the votes.*tokens ran out within the thought"):
        replies.weights_from_votes({"choices": [choice] * 4}, 4, Labels(pattern), thinks=True)
    with pytest.raises(AnswerError, match="tokens ran out within the thought"):
        replies.grades_from_votes({"choices": [thought_of("<think>7", "length")]}, thinks=True)


def test_tokens_of_a_thought_that_is_not_shown_make_a_cut_answer_one_within_the_thought() -> None:
    usage = {"prompt_tokens": 9, "completion_tokens": 50, "completion_tokens_details": {"reasoning_tokens": 50}}
    reply = {"choices": [thought_of("", "length")], "usage": usage}
    with pytest.raises(AnswerError, match="tokens ran out within the thought"):
        replies.vote_of(reply, READ)
    assert replies.shows_thought(reply)


def test_one_token_may_be_all_that_a_judge_without_a_thought_was_asked_for() -> None:
    assert replies.vote_of({"choices": [thought_of("A", "length")]}, READ) == (1, 0)


def test_a_thought_without_an_answer_is_named_as_that() -> None:
    with pytest.raises(AnswerError, match="no answer after its thought"):
        replies.vote_of({"choices": [thought_of(None, "stop", reasoning="I say A")]}, READ)


@pytest.mark.parametrize("choice", [thought_of("B", reasoning_content="A"), thought_of("<think>"), thought_of("B")])
def test_log_probabilities_of_a_thought_are_no_judgment(choice: dict[str, Any]) -> None:
    """A server lists those of every token, the thought's first."""
    reply = logprob_reply({"A": -0.1, "B": -3.0})
    reply["choices"][0] |= choice
    if choice == thought_of("B"):
        reply["usage"] = {"completion_tokens_details": {"reasoning_tokens": 7}}
    with pytest.raises(AnswerError, match="those of a thought"):
        replies.weights_from_logprobs(reply)
    assert not replies.has_logprobs(reply)


@pytest.mark.parametrize(
    ("usage", "tokens"),
    [
        ({"prompt_tokens": 100, "completion_tokens": 370, "total_tokens": 470}, (100, 370)),
        ({"prompt_tokens": 100, "completion_tokens": 50, "total_tokens": 470}, (100, 370)),  # the thought is elsewhere
        ({"prompt_tokens": 100, "completion_tokens": 50}, (100, 370)),
        ({"prompt_tokens": 100, "completion_tokens": 340}, (100, 340)),
    ],
)
def test_the_tokens_of_a_thought_are_billed(usage: dict[str, Any], tokens: tuple[int, int]) -> None:
    reported = usage | {"completion_tokens_details": {"reasoning_tokens": 320}}
    assert replies.usage({"usage": reported}) == tokens
    assert replies.usage({"usage": {"prompt_tokens": 100, "completion_tokens": 1, "total_tokens": 101}}) == (100, 1)


@pytest.mark.parametrize("choice", [*FINISHED, *CUT, thought_of(None, "stop", reasoning="I say A"), thought_of("A")])
@pytest.mark.parametrize("tokens", [0, 7])
def test_a_reply_without_its_thoughts_is_read_as_before(choice: dict[str, Any], tokens: int) -> None:
    def read(reply: dict[str, Any]) -> Any:
        try:
            return replies.vote_of(reply, READ)
        except AnswerError as error:
            return error.reason

    usage = {"completion_tokens_details": {"reasoning_tokens": tokens}}
    reply = {"model": "m", "choices": [choice], "usage": usage}
    kept = {key: value for key, value in replies.without_thoughts(reply).items() if key != "usage"}
    assert read(kept) == read(reply)
    assert replies.shows_thought(kept) == replies.shows_thought(reply)
    assert "Text A" not in str(kept) or not replies.shows_thought(reply)
    assert replies.without_thoughts("<html>") == "<html>"
