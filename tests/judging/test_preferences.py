"""From weights to preferences; compared with loops and with cases by hand."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qurating.judging import preferences

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
    assert preferences.pair_preferences(biased) == pytest.approx([0.5])
    report = preferences.agreement(biased)
    assert report["positional_bias"] == pytest.approx(0.2)
    assert report["mean_order_gap"] == pytest.approx(0.4)
    assert report["orders_agree"] == 0.0


def test_agreement_of_an_unbiased_judge_and_of_none() -> None:
    report = preferences.agreement(np.array([[[1.0, 9.0], [9.0, 1.0]], [[9.0, 1.0], [np.nan, np.nan]]]))
    assert report == {
        "num_pairs": 1,
        "orders_agree": 1.0,
        "orders_agree_interval": [pytest.approx(0.2065, abs=1e-4), pytest.approx(1.0)],
        "positional_bias": pytest.approx(0.0),
        "mean_order_gap": pytest.approx(0.0),
        "confident": 1.0,
    }
    assert preferences.agreement(np.full((2, 2, 2), np.nan))["positional_bias"] is None


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
