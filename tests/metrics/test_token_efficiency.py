"""Tokens to reach a loss, against calculations by hand and what must hold for every curve."""

import doctest
import math

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from qurating.metrics import token_efficiency
from qurating.metrics.token_efficiency import Tokens, token_factor, tokens_to_reach

TOKENS, LOSSES = [1_000, 10_000, 100_000, 1_000_000], [6.0, 5.0, 4.5, 4.4]


def test_the_examples_in_the_docstrings() -> None:
    assert doctest.testmod(token_efficiency).attempted == 2
    assert doctest.testmod(token_efficiency).failed == 0


def test_between_two_points_the_loss_is_linear_in_log_tokens() -> None:
    assert tokens_to_reach(5.5, TOKENS, LOSSES).value == pytest.approx(10**3.5)
    assert tokens_to_reach(4.9, TOKENS, LOSSES).value == pytest.approx(10**4.2)  # a fifth of the way
    assert tokens_to_reach(4.43, TOKENS, LOSSES).value == pytest.approx(10**5.7)


def test_a_point_is_met_exactly() -> None:
    for tokens, loss in zip(TOKENS, LOSSES, strict=True):
        assert tokens_to_reach(loss, TOKENS, LOSSES) == Tokens(tokens, tokens)


def test_nothing_is_extrapolated() -> None:
    before, never = tokens_to_reach(6.1, TOKENS, LOSSES), tokens_to_reach(4.39, TOKENS, LOSSES)
    assert before == Tokens(0.0, 1_000)
    assert never == Tokens(1_000_000, math.inf)
    assert before.value is None
    assert never.value is None


def test_a_curve_that_rises_again_counts_up_to_its_first_crossing() -> None:
    tokens, losses = [10, 100, 1_000, 10_000], [5.0, 4.0, 4.5, 3.0]
    assert tokens_to_reach(4.0, tokens, losses).value == 100
    assert tokens_to_reach(4.25, tokens, losses).value == pytest.approx(10**1.75)  # not between 1,000 and 10,000
    assert tokens_to_reach(3.75, tokens, losses).value == pytest.approx(10**3.5)
    assert tokens_to_reach(3.0, [10, 100], [3.0, 3.5]) == Tokens(10, 10)


def test_the_factor_by_hand() -> None:
    # the method reaches 4.9 with 8,000 tokens, the baseline needs 10^4.2 = 15,849
    assert token_factor(4.9, 8_000, TOKENS, LOSSES).value == pytest.approx(10**4.2 / 8_000)
    assert token_factor(4.4, 1_000_000, TOKENS, LOSSES) == Tokens(1.0, 1.0)
    assert token_factor(4.0, 500_000, TOKENS, LOSSES) == Tokens(2.0, math.inf)
    assert token_factor(7.0, 500, TOKENS, LOSSES) == Tokens(0.0, 2.0)


@pytest.mark.parametrize(
    ("loss", "tokens", "losses"),
    [
        (4.0, [], []),
        (4.0, [1, 2], [4.0]),
        (4.0, [2, 1], [5.0, 4.0]),
        (4.0, [1, 1], [5.0, 4.0]),
        (4.0, [0, 1], [5.0, 4.0]),
        (4.0, [1, 2], [math.nan, 4.0]),
        (math.nan, [1, 2], [5.0, 4.0]),
        (4.0, [1, 2], [math.inf, 4.0]),
        (4.0, [[1, 2]], [[5.0, 4.0]]),
    ],
)
def test_what_is_no_curve_is_refused(loss: float, tokens: list[float], losses: list[float]) -> None:
    with pytest.raises(ValueError, match="curve"):
        tokens_to_reach(loss, tokens, losses)


@pytest.mark.parametrize("num_tokens", [0, -1, math.nan, math.inf])
def test_a_method_needs_tokens(num_tokens: float) -> None:
    with pytest.raises(ValueError, match="positive"):
        token_factor(4.5, num_tokens, TOKENS, LOSSES)


@st.composite
def curves(draw: st.DrawFn) -> tuple[list[float], list[float]]:
    """Tokens and losses of 1 to 8 points; losses in any order."""
    number = draw(st.integers(1, 8))
    tokens = sorted(draw(st.sets(st.integers(1, 10**12), min_size=number, max_size=number)))
    return [float(t) for t in tokens], draw(st.lists(st.floats(0.5, 12.0), min_size=number, max_size=number))


@given(curves(), st.floats(0.1, 13.0))
def test_it_lies_where_the_curve_first_crosses_the_loss(curve: tuple[list[float], list[float]], loss: float) -> None:
    tokens, losses = curve
    found = tokens_to_reach(loss, tokens, losses)
    assert found.low <= found.high
    # all points before it are above the loss, and the next one is not
    assert all(each > loss for at, each in zip(tokens, losses, strict=True) if at < found.low)
    if math.isfinite(found.high):
        assert next(each for at, each in zip(tokens, losses, strict=True) if at >= found.high) <= loss
    else:
        assert min(losses) > loss


@given(curves(), st.floats(0.1, 13.0), st.floats(0.1, 13.0))
def test_a_lower_loss_never_takes_fewer_tokens(
    curve: tuple[list[float], list[float]], one: float, other: float
) -> None:
    low, high = sorted((one, other))
    a, b = tokens_to_reach(low, *curve), tokens_to_reach(high, *curve)
    assert a.low >= b.low * (1 - 1e-12)  # up to rounding
    assert a.high >= b.high * (1 - 1e-12)


@given(curves(), st.floats(0.1, 13.0), st.floats(0.1, 10.0), st.floats(1.0, 1e6))
def test_units_do_not_matter(
    curve: tuple[list[float], list[float]], loss: float, loss_unit: float, token_unit: float
) -> None:
    """Other units of loss change nothing, other units of tokens change them in proportion; a factor has no unit."""
    tokens, losses = np.array(curve[0]), np.array(curve[1])
    gaps = np.abs(np.diff(losses))
    assume((np.abs(losses - loss) > 1e-6).all() and (gaps > 1e-3).all())
    plain = tokens_to_reach(loss, tokens, losses)
    other = tokens_to_reach(loss * loss_unit, tokens * token_unit, losses * loss_unit)
    assert other.low == pytest.approx(plain.low * token_unit, rel=1e-6)
    assert other.high == pytest.approx(plain.high * token_unit, rel=1e-6)
    assert token_factor(loss, 7.0 * token_unit, tokens * token_unit, losses).low == pytest.approx(
        plain.low / 7, rel=1e-6
    )


@given(curves())
def test_a_method_with_the_baselines_own_curve_has_the_factor_one(curve: tuple[list[float], list[float]]) -> None:
    tokens, losses = curve
    best = int(np.argmin(losses))  # its first lowest point
    assert token_factor(losses[best], tokens[best], tokens, losses) == Tokens(1.0, 1.0)
