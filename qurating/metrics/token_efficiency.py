"""How many tokens a model must train on to reach a loss, from a few points of its loss along the training.

A curve is given by its points: tokens trained on, and the held-out loss then (`metrics.loss_curve`).
"""

import math
from typing import NamedTuple

import numpy as np
import numpy.typing as npt


class Tokens(NamedTuple):
    """A number of tokens (or a ratio of such) that lies in [low, high]; it is known if both are the same."""

    low: float
    high: float

    @property
    def value(self) -> float | None:
        """The number, if it is known."""
        return self.low if self.low == self.high else None


def tokens_to_reach(loss: float, tokens: npt.ArrayLike, losses: npt.ArrayLike) -> Tokens:
    """The tokens at which a curve first reaches a loss.

    Between two points the loss is taken as linear in log tokens. Nothing is extrapolated: a loss that the first point
    already undercuts was reached at [0, first], one that no point reaches would be at [last, ∞].

    A curve that rises again is read at its first crossing: the tokens count up to where the loss is first at or below
    the wanted one, even if a later point is above it. So a lower loss never takes fewer tokens.

    Args:
        loss: wanted, in the unit of `losses`.
        tokens: (P,), positive and rising.
        losses: (P,), after so many tokens.

    Raises:
        ValueError: no point, other shapes, tokens that do not rise, or a number that is not finite.

    >>> round(tokens_to_reach(3.5, [100, 10_000], [4.0, 3.0]).low)  # half-way in log tokens
    1000
    >>> tokens_to_reach(2.9, [100, 10_000], [4.0, 3.0]).value is None
    True
    """
    at, measured = np.asarray(tokens, dtype=np.float64), np.asarray(losses, dtype=np.float64)
    if at.ndim != 1 or at.shape != measured.shape or not len(at):
        raise ValueError(f"a curve needs as many tokens as losses, and at least one: {at.shape} and {measured.shape}")
    if not (np.isfinite(at).all() and np.isfinite(measured).all() and math.isfinite(loss)):
        raise ValueError("tokens and losses of a curve must be finite")
    if at[0] <= 0 or (np.diff(at) <= 0).any():
        raise ValueError("the tokens of a curve must be positive and rise from point to point")
    reached = np.flatnonzero(measured <= loss)
    if not len(reached):
        return Tokens(float(at[-1]), math.inf)
    after = int(reached[0])
    if measured[after] == loss:
        return Tokens(float(at[after]), float(at[after]))
    if after == 0:
        return Tokens(0.0, float(at[0]))
    share = (measured[after - 1] - loss) / (measured[after - 1] - measured[after])
    found = float(np.exp((1.0 - share) * np.log(at[after - 1]) + share * np.log(at[after])))
    found = min(max(found, float(at[after - 1])), float(at[after]))  # rounding must not leave the segment
    return Tokens(found, found)


def token_factor(
    loss: float, num_tokens: float, baseline_tokens: npt.ArrayLike, baseline_losses: npt.ArrayLike
) -> Tokens:
    """The tokens that a baseline needs for the loss of a method, divided by the method's: 2 means half the tokens.

    Args:
        loss: that the method reaches.
        num_tokens: that the method needs for it.
        baseline_tokens, baseline_losses: the curve of the baseline, see `tokens_to_reach`.

    Returns:
        the ratio; an interval where the baseline's curve does not enclose the loss.

    Raises:
        ValueError: as `tokens_to_reach`; a number of tokens that is not positive.
    """
    if not (math.isfinite(num_tokens) and num_tokens > 0):
        raise ValueError(f"{num_tokens} tokens: the number must be positive")
    needed = tokens_to_reach(loss, baseline_tokens, baseline_losses)
    return Tokens(needed.low / num_tokens, needed.high / num_tokens)
