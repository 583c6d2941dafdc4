"""The requests about pairs and texts, and the places of their answers."""

import json
from typing import Any

import numpy as np
import pytest
from judge_fixtures import logprob_reply, votes_reply
from requests_example import PAIRS, answered, criterion_of, example_requests, texts_of

from qurating.judging.endpoint.replies import AnswerError
from qurating.judging.pairs import Pairs


def weights(prompt: str, repeat: int) -> list[float]:
    """Weights of A and B that differ for every pair, criterion and order."""
    a, b = texts_of(prompt)
    return [100 * a + 10 * b + criterion_of(prompt), 0.5]


def test_every_answer_goes_to_its_pair_criterion_and_order() -> None:
    found = answered(example_requests("logprobs"), weights).weights
    assert found.shape == (3, 2, 2, 2)
    for pair, (zero, one) in enumerate(zip(PAIRS.first, PAIRS.second, strict=True)):
        for criterion in range(2):
            for order, (a, b) in enumerate([(zero, one), (one, zero)]):
                assert found[pair, criterion, order].tolist() == [100 * a + 10 * b + criterion, 0.5]


def test_separate_votes_add_up_where_more_than_half_name_a_label() -> None:
    def vote(prompt: str, repeat: int) -> list[float] | None:
        return [1.0, 0.0] if repeat < 2 else [0.0, 1.0] if repeat < 2 + criterion_of(prompt) else None

    asked = answered(example_requests("separate_votes"), vote)
    assert asked.num_calls == 3 * 2 * 2 * 5
    assert np.isnan(asked.weights[:, 0]).all()  # two of five
    assert (asked.weights[:, 1] == [2, 1]).all()
    assert len(asked.failures) == 6 * 3 + 6 * 2
    assert np.isnan(asked.label_shares[:, 0]).all()
    assert asked.label_shares[:, 1] == pytest.approx(3 / 5)
    pair, criterion, _, repeat = asked.place(min(asked.failures))
    assert (pair, criterion, repeat) == (0, 0, 2)


def test_grades_are_of_each_text_with_one_call_or_several() -> None:
    def grades(prompt: str, repeat: int) -> list[float]:
        (text,) = texts_of(prompt)
        return [1 + text + criterion_of(prompt)] if separate else [1 + text + criterion_of(prompt)] * 3

    separate = False
    found = answered(example_requests("votes", "individual"), grades).grades
    expected = 1 + np.arange(4)[:, None] + np.arange(2)
    assert (found[..., :3] == expected[..., None]).all()
    assert np.isnan(found[..., 3:]).all()  # what the reply lacks
    separate = True
    assert (answered(example_requests("separate_votes", "individual"), grades).grades == expected[..., None]).all()


def test_requests_are_the_same_each_time_and_their_options_are_those_of_the_method() -> None:
    bodies: dict[str, dict[str, Any]] = {}
    for method in ("logprobs", "votes", "separate_votes"):
        one, other = ([(r.position, r.repeat, r.content) for r in example_requests(method).all()] for _ in range(2))
        assert one == other
        assert [position for position, _, _ in one] == list(range(example_requests(method).num_calls))
        bodies[method] = dict(next(example_requests(method).all()).body)
    assert bodies["logprobs"]["top_logprobs"] == 20
    assert bodies["votes"]["n"] == 5
    assert not {"logprobs", "n"} & bodies["separate_votes"].keys()
    assert {body["max_tokens"] for body in bodies.values()} == {1}
    assert next(example_requests("votes", "individual").all()).body["max_tokens"] > 1  # a grade may be 10


def test_a_reply_is_parsed_by_the_method() -> None:
    logprobs = logprob_reply({"A": float(np.log(0.25)), "B": float(np.log(0.75))})
    assert example_requests("logprobs").parse(logprobs) == pytest.approx([0.25, 0.75])
    assert example_requests("votes").parse(votes_reply("A", "B", "B", "B", "?")) == [1, 3]
    assert example_requests("separate_votes").parse(votes_reply("B")) == [0, 1]
    assert example_requests("votes", "individual").parse(votes_reply("7", "9")) == [7, 9]
    with pytest.raises(AnswerError):
        example_requests("logprobs").parse(votes_reply("A"))


def test_an_estimate_counts_every_call() -> None:
    class Words:
        """A tokenizer of words."""

        def encode(self, text: str) -> Any:
            self.ids = text.split()
            return self

    asked = example_requests("votes")
    found = asked.estimate(Words(), None)
    contents = [[m["content"] for m in json.loads(r.content)["messages"]] for r in asked.all()]
    assert found.num_calls == len(contents) == 12
    assert found.prompt_tokens == sum(len(text.split()) + 4 for prompt in contents for text in prompt)
    assert found.usd is None


@pytest.mark.parametrize("method", ["logprobs", "votes", "separate_votes"])
def test_equal_requests_are_numbered_so_that_each_has_its_own_answer(
    monkeypatch: pytest.MonkeyPatch, method: str
) -> None:
    """Equal texts may come in any order and place; other requests keep the numbers of their votes."""
    a, b, c = "one", "two", "three"
    texts = [a, b, a, b, b, a, c, c, a]
    drawn = Pairs(list(range(9)), ["d"] * 9, texts, np.array([0, 2, 4, 6, 6]), np.array([1, 3, 5, 7, 8]), {})
    monkeypatch.setattr("requests_example.PAIRS", drawn)
    asked = list(example_requests(method).all())
    assert len({request.key() for request in asked}) == len(asked)
    by_body: dict[bytes, list[int]] = {}
    for request in asked:
        by_body.setdefault(request.content, []).append(request.repeat)
    votes = example_requests(method).calls_each
    # two criteria: a-b and b-a three times each, c-c in both orders, c-a and a-c
    assert sorted(map(len, by_body.values())) == sorted([n * votes for n in (3, 3, 2, 1, 1)] * 2)
    assert all(sorted(repeats) == list(range(len(repeats))) for repeats in by_body.values())
    assert [r.key() for r in example_requests(method).all([1, 3])] == [
        r.key() for unit in (1, 3) for r in asked[unit * 4 * votes : (unit + 1) * 4 * votes]
    ]
    probing = next(example_requests(method).questions(1))
    assert (probing.position, probing.key()) == (0, asked[0].key())
    alone = example_requests("votes", "individual")
    assert [r.repeat for r in alone.all()][::2] == [0, 0, 1, 1, 2, 2, 0, 1, 3]
