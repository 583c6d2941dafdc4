"""Budgets of domains: exact, and refused if they cannot be met."""

from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from qurating.selection.budgets import by_domain, shares


@given(st.integers(0, 10**15), st.lists(st.integers(0, 10**15), min_size=1, max_size=8).filter(any))
def test_shares_add_up_and_are_off_by_less_than_one(total: int, weights: list[int]) -> None:
    found = shares(total, weights)
    assert sum(found) == total
    for part, weight in zip(found, weights, strict=True):
        assert abs(part - Fraction(total) * weight / sum(weights)) < 1


def test_proportional_budgets_never_ask_for_more_than_there_is() -> None:
    there = {"a": 10**14 + 1, "b": 10**14, "c": 3, "empty": 0}
    for budget in (1, 10**12, sum(there.values())):
        found = by_domain(budget, there)
        assert sum(found.values()) == budget
        assert all(found[name] <= there[name] for name in there)
        assert found["empty"] == 0


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 50), min_size=1),
    st.dictionaries(st.sampled_from("abcdef"), st.floats(0, 10), min_size=1).filter(lambda w: any(w.values())),
    st.integers(1, 200),
)
def test_what_a_short_domain_lacks_is_shared_by_weight(
    there: dict[str, int], weights: dict[str, float], budget: int
) -> None:
    weights = {name: weight for name, weight in weights.items() if name in there}
    holds = sum(there[name] for name, weight in weights.items() if weight > 0)
    if not any(weights.values()) or budget > holds:
        return
    found = by_domain(budget, there, weights, "redistribute")
    assert sum(found.values()) == budget
    full = [name for name in there if found[name] == there[name]]
    assert all(found[name] <= there[name] for name in there)
    assert all(found[name] == 0 for name in there if not weights.get(name))
    # among the others, as the weights are
    others = [name for name in there if name not in full and weights.get(name)]
    for one in others:
        for other in others:
            exact = Fraction(weights[one]) / Fraction(weights[other]) * found[other]
            assert abs(found[one] - exact) <= 1 + Fraction(weights[one]) / Fraction(weights[other])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, {"a": 5}), "the budget is 0 tokens, the corpus holds 5"),
        ((6, {"a": 5}), "the budget is 6 tokens, the corpus holds 5"),
        ((2.5, {"a": 5}), "whole number"),
        ((2, {"a": 5}, {"b": 1}), "unknown domain b; the domains are a"),
        ((2, {"a": 5}, {"a": 0}), "0 or more, and one of them above"),
        ((2, {"a": 5, "b": 5}, {"a": -1, "b": 1}), "0 or more"),
        ((2, {"a": 5}, {}), "0 or more"),
        ((2, {"a": 5, "b": 5}, [1, 2]), r"by name, as in {NAME: 1, OTHER: 2}, not as \[1, 2\]"),
        ((2, {"a": 5, "b": 5}, {"a": 1, "b": "x"}), "the weight of b must be a number, not 'x'"),
        ((2, {"a": 5, "b": 5}, {"a": 1, "b": float("nan")}), "the weight of b must be a number, not nan"),
        ((6, {"a": 5, "b": 5}, {"a": 1}), r"domains with a weight hold 5 \(a\)"),
        ((6, {"a": 1, "b": 5}, {"a": 1, "b": 1}), "the share of domain a is 3 tokens, and it holds 1 .*redistribute"),
        ((6, {"a": 1, "b": 5}, {"a": 1, "b": 1}, "ignore"), "stop or redistribute, not 'ignore'"),
    ],
)
def test_refuses_a_budget_that_cannot_be_met(arguments: tuple[Any, ...], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        by_domain(*arguments)
