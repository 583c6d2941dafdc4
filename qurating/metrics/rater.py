"""How well a rater orders held-out pairs: accuracy, calibration, and effects of length and position."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from qurating.metrics import bradley_terry
from qurating.metrics.ranks import spearman

MARGINS = (0.0, 0.25, 0.5, 0.75)  # lower ends of the groups of |2p − 1|
NUM_BINS = 10  # of the rater's probability, from ½ to 1
Floats = npt.NDArray[np.float64]


def report(
    scores_a: Floats,
    scores_b: Floats,
    preference: Floats,
    minimum_confidence: float,
    criteria: Sequence[str],
    domains: Sequence[Sequence[str]],
    lengths: npt.NDArray[np.int64],
    preference_by_order: Floats | None,
) -> dict[str, Any]:
    """The figures of `validation.json`.

    Accuracy by criterion and by domain is over confident pairs (|2p − 1| ≥ `minimum_confidence`), accuracy by
    confidence over all; each comes with its number of judgments, and is None without any. A pair counts for a domain if
    both of its texts are of the domain.

    Args:
        scores_a, scores_b: (N, C) ratings of the texts of the held-out pairs by each criterion.
        preference: (N, C) p(B ≻ A), NaN for a pair without a judgment.
        domains: of the two texts of each pair.
        lengths: (N, 2) of the texts, in tokens of the rater.
        preference_by_order: (N, C, 2) p(B ≻ A) with A shown first, and with B shown first; None if unknown.
    """
    agreement = _agreement(scores_a, scores_b, preference)
    margin = np.abs(2 * preference - 1)
    confident = np.where(margin >= minimum_confidence, agreement, np.nan)
    both = np.array([first if first == second else "" for first, second in domains], dtype=object)
    by_criterion = {}
    for c, name in enumerate(criteria):
        judged = ~np.isnan(preference[:, c])
        sure = ~np.isnan(confident[:, c])
        a, b, p, agrees = scores_a[:, c], scores_b[:, c], preference[:, c], agreement[:, c]
        by_criterion[name] = {
            "by_confidence": by_margin(agrees, margin[:, c]),
            "calibration": calibration(a[judged], b[judged], p[judged]),
            "calibration_of_confident": calibration(a[sure], b[sure], p[sure]),
            "length": length_effect(a[judged], b[judged], p[judged], agrees[judged], lengths[judged]),
            "position": position_effect(a[sure], b[sure], p[sure], agrees[sure]),
            "order_flips": (
                None if preference_by_order is None else order_flips(preference_by_order[judged, c], agrees[judged])
            ),
        }
    return {
        "accuracy": {name: mean(confident[:, c])["accuracy"] for c, name in enumerate(criteria)},
        "num_pairs": {name: mean(confident[:, c])["num_pairs"] for c, name in enumerate(criteria)},
        "by_confidence": by_margin(agreement, margin),
        "by_domain": {name: mean(confident[both == name]) for name in sorted(set(both) - {""})},
        "by_criterion": by_criterion,
    }


def mean(agreement: Floats) -> dict[str, Any]:
    """Accuracy, and the number of judgments; any shape, NaN for no judgment."""
    known = agreement[~np.isnan(agreement)]
    return {"accuracy": float(known.mean()) if len(known) else None, "num_pairs": len(known)}


def by_margin(agreement: Floats, margin: Floats) -> dict[str, Any]:
    """Accuracy by the judge's confidence |2p − 1|, in four groups; any shape, NaN for no judgment."""
    ends = (*MARGINS[1:], 2.0)
    return {
        f"{low:.2f}-{min(high, 1.0):.2f}": mean(agreement[(margin >= low) & (margin < high)])
        for low, high in zip(MARGINS, ends, strict=True)
    }


def calibration(scores_a: Floats, scores_b: Floats, preference: Floats) -> dict[str, Any]:
    """Whether the rater is as sure as the judge: (N,) ratings and p(B ≻ A).

    q = σ(|s_B − s_A|) is the rater's probability of the text that it prefers, p the judge's of that text. In bins of q
    from ½ to 1, expected calibration error = Σ_k n_k / N · |mean q − mean p|.
    """
    predicted = 1 / (1 + np.exp(-np.abs(scores_b - scores_a)))
    judged = np.where(scores_b >= scores_a, preference, 1 - preference)
    bin_of = np.minimum((2 * NUM_BINS * (predicted - 0.5)).astype(int), NUM_BINS - 1)
    bins = []
    for k in range(NUM_BINS):
        inside = bin_of == k
        if inside.any():
            q, p = float(predicted[inside].mean()), float(judged[inside].mean())
            low = 0.5 + k / (2 * NUM_BINS)
            bins.append(
                {
                    "low": low,
                    "high": low + 1 / (2 * NUM_BINS),
                    "num_pairs": int(inside.sum()),
                    "predicted": q,
                    "judged": p,
                }
            )
    error = sum(found["num_pairs"] * abs(found["predicted"] - found["judged"]) for found in bins)
    return {"num_pairs": len(preference), "ece": error / len(preference) if len(preference) else None, "bins": bins}


def length_effect(
    scores_a: Floats, scores_b: Floats, preference: Floats, agreement: Floats, lengths: npt.NDArray[np.int64]
) -> dict[str, Any]:
    """Whether ratings depend on length: (N,) ratings, p(B ≻ A), agreement; (N, 2) lengths.

    Spearman's ρ of ratings and lengths of all texts; how often rater and judge prefer the longer text of a pair (ties
    of length and preference do not count); accuracy where the judge prefers the longer and the shorter text.
    """
    longer = np.sign(lengths[:, 1] - lengths[:, 0])
    by_judge = np.sign(2 * preference - 1) * longer
    by_rater = np.sign(scores_b - scores_a) * longer
    return {
        "num_texts": 2 * len(preference),
        "spearman": spearman(np.concatenate([scores_a, scores_b]), lengths.T.ravel()) if len(preference) else None,
        "judge_prefers_longer": _share(by_judge),
        "rater_prefers_longer": _share(by_rater),
        "where_judge_prefers_longer": mean(agreement[by_judge > 0]),
        "where_judge_prefers_shorter": mean(agreement[by_judge < 0]),
    }


def position_effect(scores_a: Floats, scores_b: Floats, preference: Floats, agreement: Floats) -> dict[str, Any]:
    """Whether it matters which text is called A: it must not for a rater of single texts; (N,) each."""
    return {
        "judge_prefers_b": _share(2 * preference - 1),
        "rater_prefers_b": _share(scores_b - scores_a),
        "where_judge_prefers_a": mean(agreement[preference < 0.5]),
        "where_judge_prefers_b": mean(agreement[preference > 0.5]),
    }


def order_flips(preference_by_order: Floats, agreement: Floats) -> dict[str, Any]:
    """How often the judge prefers another text when A and B are exchanged: (N, 2) p(B ≻ A) by order, (N,) agreement.

    Also the rater's accuracy on the pairs where the judge does and where it does not. p = ½ prefers neither text.
    """
    known = ~np.isnan(preference_by_order).any(axis=1)
    signs = np.sign(2 * preference_by_order[known] - 1)
    flipped = signs[:, 0] * signs[:, 1] < 0
    return {
        "num_pairs": int(known.sum()),
        "share": float(flipped.mean()) if len(flipped) else None,
        "where_judge_flips": mean(agreement[known][flipped]),
        "where_judge_does_not": mean(agreement[known][~flipped]),
    }


def _share(signs: Floats) -> float | None:
    """The share of the values above 0 among those that are not 0; None without any."""
    decided = signs[signs != 0]
    return float((decided > 0).mean()) if len(decided) else None


def _agreement(scores_a: Floats, scores_b: Floats, preference: Floats) -> Floats:
    return bradley_terry.agreement(*map(torch.from_numpy, (scores_a, scores_b, preference))).numpy()
