"""The Bradley-Terry model of preferences between texts (QuRating §3): p(B ≻ A) = σ(s_B − s_A).

The whole package uses these terms. The `preference` of a pair of texts is p = p(B ≻ A), the probability that the second
is preferred to the first, in [0, 1]; NaN if there is none. The texts are called A and B, or 0 and 1, or first and
second, always in this order. |2p − 1| is the confidence. `preference_by_order` is p with A shown first, and with B
shown first. `probability_of_b` belongs to a reply, not to a pair: it is that of the label B, whichever text is shown as
B.
"""

import torch
import torch.nn.functional as F
from torch import Tensor


def loss(scores_a: Tensor, scores_b: Tensor, preference: Tensor) -> Tensor:
    """Binary cross-entropy of soft preferences, mean over those that are not NaN.

    −[p log σ(s_B − s_A) + (1 − p) log σ(s_A − s_B)], p = P(B preferred over A).

    Args:
        scores_a, scores_b: float, of one shape, for example (pairs, criteria).
        preference: p in [0, 1], same shape; NaN for a pair without a (confident) judgment.

    Returns:
        a scalar; 0 (with a gradient of 0) without any preference.

    Raises:
        ValueError: different shapes, or a preference outside [0, 1].
    """
    if not scores_a.shape == scores_b.shape == preference.shape:
        raise ValueError(f"shapes differ: {scores_a.shape}, {scores_b.shape}, {preference.shape}")
    is_judged = ~torch.isnan(preference)
    target = preference[is_judged]
    if ((target < 0) | (target > 1)).any():
        raise ValueError("a preference lies outside [0, 1]")
    logits = (scores_b - scores_a)[is_judged].float()
    return F.binary_cross_entropy_with_logits(logits, target.float(), reduction="sum") / max(1, target.numel())


def confident(preference: Tensor, minimum_confidence: float) -> Tensor:
    """Preferences with |2p − 1| ≥ `minimum_confidence`; NaN for the others. Any shape, shape kept."""
    return torch.where((2 * preference - 1).abs() >= minimum_confidence, preference, torch.nan)


def tempered(preference: Tensor, temperature: float) -> Tensor:
    """Preferences with their log-odds divided by `temperature`: sharper below 1, softer above 1.

    p ↦ p^(1/T) / (p^(1/T) + (1 − p)^(1/T)); ½, 0 and 1 do not change, nor does the preferred text. Any shape,
    shape and dtype kept; NaN stays NaN.

    Raises:
        ValueError: a temperature that is not above 0.
    """
    if not temperature > 0:
        raise ValueError(f"a temperature must be above 0, not {temperature}")
    if temperature == 1:
        return preference
    return torch.sigmoid(torch.logit(preference.double()) / temperature).to(preference.dtype)


def agreement(scores_a: Tensor, scores_b: Tensor, preference: Tensor) -> Tensor:
    """1 if the scores order a pair as its preference does, 0 if not, NaN without a preference.

    A tie (p = ½, or equal scores) counts a half. Any shape, shape kept, float.
    """
    same = torch.sign(scores_b - scores_a) * torch.sign(2 * preference - 1)
    # the sign of NaN is 0 in torch
    return torch.where(torch.isnan(preference), torch.nan, 0.5 + 0.5 * same)
