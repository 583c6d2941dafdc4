"""Replies to weights, weights to preferences; against loops and hand-made cases."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from judge_fixtures import logprob_reply, votes_reply

from qurating.judging import preferences
from qurating.judging.preferences import AnswerError


@pytest.mark.parametrize(
    ("token", "label"),
    [("A", 0), (" B", 1), ("B.", 1), ("**A**", 0), ("(B)", 1), ("a", None), ("AB", None), ("", None), (None, None)],
)
def test_labels(token: str | None, label: int | None) -> None:
    assert preferences.label_of(token) == label


def test_weights_are_the_labels_probabilities_whatever_their_spelling() -> None:
    reply = logprob_reply({"B": math.log(0.5), " A": math.log(0.2), "A": math.log(0.1), "The": math.log(0.2)})
    assert preferences.weights_from_logprobs(reply) == pytest.approx((0.3, 0.5))


def test_a_label_beyond_the_listed_tokens_has_no_weight() -> None:
    assert preferences.weights_from_logprobs(logprob_reply({"A": -0.01, "The": -5.0})) == pytest.approx(
        (math.exp(-0.01), 0)
    )


def test_the_answer_counts_where_no_alternatives_are_listed() -> None:
    reply = logprob_reply({"B": -0.1})
    reply["choices"][0]["logprobs"]["content"][0]["top_logprobs"] = []
    assert preferences.weights_from_logprobs(reply) == pytest.approx((0.0, math.exp(-0.1)))


@pytest.mark.parametrize(
    ("reply", "reason"),
    [
        (logprob_reply({"Both": -0.01, "Sure": -6.0}), "neither label"),
        (logprob_reply({"Both": -0.01, "A": -9.0, "B": -7.0}), "neither label"),
        (logprob_reply({"A": math.nan}), "neither label"),
        (votes_reply("A"), "no log-probabilities"),
        ({"choices": []}, "no chat completion"),
        ({"error": "busy"}, "no chat completion"),
        ([], "no chat completion"),
        ({"choices": [{"logprobs": {"content": []}}]}, "no log-probabilities"),
    ],
)
def test_replies_without_a_judgment(reply: dict, reason: str) -> None:
    with pytest.raises(AnswerError, match=reason):
        preferences.weights_from_logprobs(reply)


def test_votes_need_a_majority_of_labels() -> None:
    assert preferences.weights_from_votes(votes_reply("A", "B", "B", None, "I"), 5) == (1, 2)
    with pytest.raises(AnswerError, match="half"):
        preferences.weights_from_votes(votes_reply("A", "B", None, "I"), 4)
    with pytest.raises(AnswerError, match="half"):  # an endpoint that gives fewer choices than asked for
        preferences.weights_from_votes(votes_reply("A"), 20)


weights_of_pairs = st.lists(
    st.tuples(*[st.one_of(st.just(math.nan), st.floats(0.01, 20.0))] * 4), min_size=1, max_size=12
).map(lambda rows: np.array([[[a, b * a / a], [c, d * c / c]] for a, b, c, d in rows]))


@given(weights_of_pairs)
def test_matrices_against_a_loop(weights: np.ndarray) -> None:
    weights = np.where(np.isnan(weights).any(axis=2, keepdims=True), np.nan, weights)  # a request fails as a whole
    found = preferences.pair_matrices(weights)
    for pair, (order_0, order_1) in enumerate(weights):
        expected = {name: [[-100.0, -100.0], [-100.0, -100.0]] for name in found}
        for i, j, (a, b) in [(0, 1, order_0), (1, 0, order_1)]:
            if not math.isnan(a):
                expected["votes_a"][i][j], expected["votes_b"][i][j] = a, b
        if not math.isnan(order_0[0] + order_1[0]):
            p_ab = order_0[1] / (order_0[0] + order_0[1])
            p_ba = order_1[1] / (order_1[0] + order_1[1])
            expected["average"][0][1] = (p_ab + 1 - p_ba) / 2
            expected["average"][1][0] = (p_ba + 1 - p_ab) / 2
        for name, matrix in expected.items():
            np.testing.assert_allclose(found[name][pair], matrix, atol=1e-12)


def test_positional_bias_cancels_in_the_preference_and_shows_in_the_report() -> None:
    # a judge that finds both texts equal, but says A 70 % of the time
    biased = np.array([[[0.7, 0.3], [0.7, 0.3]]])
    assert preferences.preferences(biased) == pytest.approx([0.5])
    report = preferences.agreement(biased)
    assert report["positional_bias"] == pytest.approx(0.2)
    assert report["mean_order_gap"] == pytest.approx(0.4)
    assert report["orders_agree"] == 0.0


def test_agreement_of_an_unbiased_judge_and_of_none() -> None:
    report = preferences.agreement(np.array([[[1.0, 9.0], [9.0, 1.0]], [[9.0, 1.0], [np.nan, np.nan]]]))
    assert report == {
        "num_pairs": 1,
        "orders_agree": 1.0,
        "positional_bias": pytest.approx(0.0),
        "mean_order_gap": pytest.approx(0.0),
        "confident": 1.0,
    }
    assert preferences.agreement(np.full((2, 2, 2), np.nan))["positional_bias"] is None


@pytest.mark.parametrize(
    ("content", "grade"),
    [("7", 7), (" 10.", 10), ("**3**", 3), ("8/10", 8), ("0", None), ("11", None), ("I say 7", None), (None, None)],
)
def test_grades(content: str | None, grade: int | None) -> None:
    assert preferences.grade_of(content) == grade


def test_grades_of_choices() -> None:
    reply = {"choices": [{"message": {"content": said}} for said in ("7", "well", "9")]}
    assert preferences.grades_from_votes(reply) == [7.0, 9.0]
    with pytest.raises(AnswerError, match="no grade"):
        preferences.grades_from_votes({"choices": [{"message": {"content": "good"}}]})


def test_preferences_of_grades_against_a_loop() -> None:
    draw = np.random.default_rng(3)
    grades = draw.integers(1, 11, (8, 6)).astype(float)
    grades[draw.random((8, 6)) < 0.3] = np.nan
    grades[7] = np.nan
    first, second = (part.astype(np.int64) for part in np.triu_indices(8, 1))
    found = preferences.grade_preferences(grades, first, second)
    for p, i, j in zip(found, first, second, strict=True):
        pairs = [(a < b) + (a == b) / 2 for a in grades[i] for b in grades[j] if a == a and b == b]
        assert p == pytest.approx(np.mean(pairs)) if pairs else np.isnan(p)
    matrices = preferences.grade_matrices(found)
    assert matrices["average"][-1].tolist() == [[-100, -100], [-100, -100]]
    assert matrices["average"][0][0, 1] + matrices["average"][0][1, 0] == pytest.approx(1)
