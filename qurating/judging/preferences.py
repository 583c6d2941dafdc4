"""From the weights of labels, or grades, to the preference of a pair. Pure functions on numpy arrays.

A pair of texts (0, 1) is judged in both orders. In order 0, text 0 is shown as A and text 1 as B; in order 1 the
other way round. A reply becomes two weights, one for each label (`replies`); p = weight_B / (weight_A + weight_B) is
then the probability that the text shown as B is preferred (a softmax over the labels, or a share of votes).

With grades, each text is graded alone from 1 to 10, several times; its grade is the mean.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from qurating.judging.endpoint.replies import GRADES
from qurating.metrics.shares import wilson

ABSENT = -100.0  # in the released 250K judgments: on the diagonal, and where a judgment failed
CONFIDENT = 0.5  # |2p - 1| from which the rater trains on a pair (QuRating §3)

Floats = NDArray[np.float64]


def probability_of_b(weights: Floats) -> Floats:
    """p(the text shown as B is preferred) = w_B / (w_A + w_B).

    `weights`: (..., 2), labels last, NaN where the request failed. Returns (...), with NaN in the same places.
    """
    return weights[..., 1] / weights.sum(axis=-1)


def pair_preferences(weights: Floats) -> Floats:
    """P(text 1 ≻ text 0) = ½ (p_01 + 1 − p_10), where p_ij is the probability of label B with text i as A, j as B.

    `weights`: (pairs, 2 orders, 2 labels). Returns (pairs,), NaN where an order is absent.
    """
    p = probability_of_b(weights)
    return 0.5 * (p[:, 0] + 1.0 - p[:, 1])


def pair_matrices(weights: Floats) -> dict[str, Floats]:
    """The columns `votes_a`, `votes_b` and `average` of the released judgments, each (pairs, 2, 2).

    [i][j] stands for text i shown as A and text j as B (votes), or P(text j ≻ text i) (average); −100 on the diagonal
    and where absent. `weights`: (pairs, 2 orders, 2 labels), NaN where a request failed.
    """
    preference = pair_preferences(weights)
    matrices = {name: np.full((len(weights), 2, 2), ABSENT) for name in ("votes_a", "votes_b", "average")}
    for order, (i, j) in enumerate([(0, 1), (1, 0)]):
        for label, name in enumerate(["votes_a", "votes_b"]):
            matrices[name][:, i, j] = np.nan_to_num(weights[:, order, label], nan=ABSENT)
        matrices["average"][:, i, j] = np.nan_to_num(preference if order == 0 else 1.0 - preference, nan=ABSENT)
    return matrices


def grade_preferences(grades: Floats, first: NDArray[np.int64], second: NDArray[np.int64]) -> Floats:
    """P(text `second` ≻ text `first`) = P(g₂ > g₁) + ½ P(g₂ = g₁), over all pairs of one grade of each text.

    `grades`: (texts, votes), NaN where a vote is missing; `first`, `second`: (pairs,) rows of `grades`. Returns
    (pairs,), NaN where a text has no grade.
    """
    shares = np.stack([(grades == grade).sum(axis=1) for grade in GRADES], axis=1).astype(np.float64)
    with np.errstate(invalid="ignore"):
        shares /= shares.sum(axis=1, keepdims=True)  # (texts, 10)
    below = np.cumsum(shares, axis=1) - shares / 2  # P(g < k) + ½ P(g = k)
    return (shares[second] * below[first]).sum(axis=1)


def grade_matrices(preference: Floats) -> dict[str, Floats]:
    """The columns of the released judgments from grades: no votes, (pairs, 2, 2) each."""
    matrices = {name: np.full((len(preference), 2, 2), ABSENT) for name in ("votes_a", "votes_b", "average")}
    matrices["average"][:, 0, 1] = np.nan_to_num(preference, nan=ABSENT)
    matrices["average"][:, 1, 0] = np.nan_to_num(1.0 - preference, nan=ABSENT)
    return matrices


def agreement(weights: Floats) -> dict[str, Any]:
    """Agreement of the two orders, over the pairs with both orders answered; None without such pairs.

    - `orders_agree`: share of pairs in which both orders prefer the same text (guessing: 50 %), and its 95 % interval;
    - `positional_bias`: mean probability of label A minus ½, in [−½, ½]: above 0, the first place is favoured.
      It is the mean of ½ ((1 − p_BA) − p_AB), and cancels in the average of the two orders;
    - `mean_order_gap`: mean of |p_AB − (1 − p_BA)|, which includes noise;
    - `confident`: share of pairs with |2p − 1| ≥ 0.5, on which a rater trains.
    """
    p = probability_of_b(weights)
    p = p[~np.isnan(p).any(axis=1)]
    if not len(p):
        absent = ["orders_agree", "orders_agree_interval", "positional_bias", "mean_order_gap", "confident"]
        return dict.fromkeys(absent) | {"num_pairs": 0}
    first, second = p[:, 0], 1.0 - p[:, 1]  # both: P(text 1 ≻ text 0)
    agree = float(np.mean((first >= 0.5) == (second >= 0.5)))
    return {
        "num_pairs": len(p),
        "orders_agree": agree,
        "orders_agree_interval": list(wilson(agree, len(p))),
        "positional_bias": float(np.mean(second - first) / 2),
        "mean_order_gap": float(np.mean(np.abs(first - second))),
        "confident": float(np.mean(np.abs(first + second - 1.0) >= CONFIDENT)),
    }
