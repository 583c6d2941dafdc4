"""How many tokens uniform needs for the loss of a method, read from uniform trainings of several budgets.

Each of them is a whole training, whose learning rate falls to its end. So this compares finished models, which a factor
read along one training (`token_factors`) does not.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from qurating.metrics import student
from qurating.metrics.token_efficiency import Tokens, token_factor

MIN_BUDGETS = 2


class Losses(NamedTuple):
    """One seed: the tokens and the held-out loss of a method, and tokens -> loss of uniform with this seed."""

    tokens: float
    loss: float
    uniform: Mapping[float, float]


def compared(runs: Sequence[Losses]) -> tuple[dict[str, Any], list[str]]:
    """The columns `token_factor*` of a method, and notes; both empty if no seed has two budgets of uniform.

    The factor of one seed is the tokens that uniform of this seed needs for the loss of the method, by interpolation in
    log tokens, divided by the method's tokens. The columns are the geometric mean over seeds, and its 95 % interval
    (Student's t of the logarithms). Nothing is extrapolated: a seed whose loss lies outside of uniform's budgets counts
    with the nearest one, `token_factor_bound` says that the mean is a bound ("at least", "at most"), and there is no
    interval; seeds outside on both sides have no mean.
    """
    complete = sum(len(run.uniform) >= MIN_BUDGETS for run in runs)
    if not complete:
        return {}, []
    if complete < len(runs):  # a factor of another kind beside those of other methods would not be told apart
        return {}, [f"no token factor: uniform has several budgets with {complete} of {len(runs)} seeds alone"]
    factors = [_factor(run) for run in runs]
    beyond, short = sum(math.isinf(each.high) for each in factors), sum(each.low == 0.0 for each in factors)
    if beyond and short:
        return {}, ["token factor: outside of uniform's budgets on both sides"]
    known = [math.log(each.low if math.isinf(each.high) else each.high) for each in factors]
    bound = "at least" if beyond else "at most" if short else None
    low, high = (None, None) if bound else student.interval(known) or (None, None)
    row = {
        "token_factor": math.exp(sum(known) / len(known)),
        "token_factor_low": None if low is None else math.exp(low),
        "token_factor_high": None if high is None else math.exp(high),
        "token_factor_bound": bound,
        "token_factor_from": "budgets",
    }
    outside = beyond or short
    side = "below the loss of uniform's largest budget" if beyond else "above the loss of uniform's smallest budget"
    return row, [f"token factor: {outside} of {len(factors)} seeds are {side}"] if outside else []


def _factor(run: Losses) -> Tokens:
    budgets = sorted(run.uniform)
    return token_factor(run.loss, run.tokens, budgets, [run.uniform[each] for each in budgets])
