"""With how many fewer tokens a method reaches the loss of uniform, read along their trainings."""

import math
from collections.abc import Sequence
from typing import Any

from qurating.evaluation.curves import heldout_loss
from qurating.evaluation.runs import Run
from qurating.metrics import student
from qurating.metrics.loss_curve import Point
from qurating.metrics.token_efficiency import Tokens, tokens_to_reach


def compared(pairs: Sequence[tuple[Run, Run]]) -> tuple[dict[str, Any], list[str]]:
    """The columns `token_factor`, with `_low` and `_high`, of a method and its uniform, and notes.

    The factor of one pair is the tokens of uniform's whole training, divided by those after which the method's held-out
    loss is first at uniform's last one: 2 means that half the tokens were enough. The columns are the geometric mean
    over the pairs and its 95 % interval (Student's t of the logarithms). Nothing is extrapolated: if the method's curve
    does not cross that loss in some pair, there is no mean, and a note has the bounds.

    Args:
        pairs: a run of the method, and one of uniform with the same seeds.
    """
    factors = [factor for run, uniform in pairs if (factor := _factor(run, uniform)) is not None]
    if not factors:
        return {}, []
    if len(factors) < len(pairs):
        return {}, [f"no token factor: only {len(factors)} of {len(pairs)} pairs have curves that can be read"]
    values = [factor.value for factor in factors]
    inside = [math.log(value) for value in values if value is not None]
    if len(inside) < len(values):
        bounds = ", ".join(_bound(factor) for factor in factors)
        return {}, [f"token factor not within the curve of every seed: {bounds}"]
    low, high = student.interval(inside) or (None, None)
    row = {
        "token_factor": math.exp(sum(inside) / len(inside)),
        "token_factor_low": None if low is None else math.exp(low),
        "token_factor_high": None if high is None else math.exp(high),
        "token_factor_from": "curve",
    }
    return row, []


def _factor(run: Run, uniform: Run) -> Tokens | None:
    """The factor of one pair; None without the curves of both, or if they are of other documents."""
    own, other = _curve(run), _curve(uniform)
    if own is None or other is None or own[-1].num_tokens != other[-1].num_tokens:
        return None
    needed = tokens_to_reach(
        other[-1].nats_per_token, [each.tokens for each in own], [each.nats_per_token for each in own]
    )
    whole = other[-1].tokens
    return Tokens(whole / needed.high, whole / needed.low if needed.low else math.inf)


def _curve(run: Run) -> list[Point] | None:
    return heldout_loss(run.chain["train_lm"].folder, run.chain["evaluate"].folder, run.part)


def _bound(factor: Tokens) -> str:
    if factor.value is not None:
        return f"{factor.value:.2f}"
    return f"below {factor.high:.2f}" if factor.low == 0.0 else f"above {factor.low:.2f}"
