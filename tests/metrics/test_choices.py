"""What likelihoods of answers say, against the definitions spelt out."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qurating.metrics.choices import bits_per_byte, chosen, mean_and_error, probability

LIKELIHOODS = st.lists(st.floats(-500, 0), min_size=2, max_size=6)


@given(LIKELIHOODS, st.data())
def test_probabilities_of_the_choices_are_shares_of_their_likelihoods(values: list[float], data: st.DataObject) -> None:
    lengths = data.draw(st.lists(st.integers(1, 40), min_size=len(values), max_size=len(values)))
    for given_lengths in (None, lengths):
        scaled = [v / n for v, n in zip(values, given_lengths or [1] * len(values), strict=True)]
        each = [probability(values, [c], given_lengths) for c in range(len(values))]
        assert sum(each) == pytest.approx(1.0)
        assert probability(values, [0, 1], given_lengths) == pytest.approx(each[0] + each[1])
        for c, value in enumerate(scaled):
            assert each[c] == pytest.approx(1 / math.fsum(math.exp(min(700, other - value)) for other in scaled))


def test_a_worked_example() -> None:
    values, characters = [-2 * math.log(2), -4 * math.log(2)], [1, 4]
    assert probability(values, [0]) == pytest.approx(4 / 5)  # 1/4 against 1/16
    assert probability(values, [1], characters) == pytest.approx(2 / 3)  # 1/2 against 1/4
    assert (chosen(values), chosen(values, characters)) == (0, 1)
    assert bits_per_byte(values, [0], [1, 8]) == pytest.approx(2.0)
    assert bits_per_byte(values, [0, 1], [1, 8]) == pytest.approx(0.5)  # of two correct answers the cheaper


def test_of_equal_answers_the_first_is_chosen_and_an_empty_one_counts_as_a_character() -> None:
    assert chosen([-3.0, -1.0, -1.0]) == 1
    assert bits_per_byte([-math.log(2)], [0], [0]) == pytest.approx(1.0)


def test_mean_and_its_standard_error() -> None:
    mean, error = mean_and_error([1.0, 0.0, 0.0, 1.0])
    assert mean == 0.5
    assert error == pytest.approx(math.sqrt(1 / 3) / 2)  # four deviations of 1/2
    assert mean_and_error([3.0]) == (3.0, None)
    assert mean_and_error([]) == (None, None)
