"""From a judge's replies to the preference of a pair. Pure functions on numpy arrays and decoded JSON.

A pair of texts (0, 1) is asked in both orders. In order 0, text 0 is shown as A and text 1 as B; in order 1 the
other way round. A reply becomes two weights, one for each label; p = weight_B / (weight_A + weight_B) is then the
probability that the text shown as B is preferred (a softmax over the labels, or a share of votes).

Or each text is graded by itself, from 1 to 10, several times; its grade is the mean.
"""

import math
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

LABELS = ("A", "B")
ABSENT = -100.0  # in the released 250K judgments: on the diagonal, and where a judgment failed
MIN_LABEL_PROBABILITY = 0.01  # below, the model means to say something else, and the ratio of the labels is noise
GRADES = range(1, 11)
CONFIDENT = 0.5  # |2p - 1| from which the rater trains on a pair (QuRating §3)

Floats = NDArray[np.float64]


class AnswerError(ValueError):
    """A reply that holds no judgment: `reason` is the same for all of its kind, `detail` says what was there."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason)
        self.reason, self.detail = reason, detail


def label_of(token: str | None) -> int | None:
    """0 for the label A, 1 for B, None for anything else; blanks and marks around it do not matter, its case does."""
    stripped = (token or "").strip(" \t\r\n\"'*()[].:Ġ▁")
    return LABELS.index(stripped) if stripped in LABELS else None


def weights_from_logprobs(reply: Mapping[str, Any]) -> tuple[float, float]:
    """Probabilities of the two labels as the first token, from a chat completion with `top_logprobs`.

    Spellings of a label (" A", "A") are added up; a label beyond the listed tokens has weight 0. Raises AnswerError
    if the reply has no log-probabilities, or the labels have less than 1 % of the probability between them.
    """
    choice = _choices(reply)[0]
    try:
        first = choice["logprobs"]["content"][0]
        listed = {entry["token"]: float(entry["logprob"]) for entry in [*(first.get("top_logprobs") or []), first]}
    except (KeyError, TypeError, IndexError, ValueError):
        raise AnswerError(
            "the endpoint gives no log-probabilities (judge.method=votes does without)", _said(choice)
        ) from None
    weights = [0.0, 0.0]
    for token, logprob in listed.items():
        if (label := label_of(token)) is not None:
            weights[label] += math.exp(min(logprob, 0.0))
    if not sum(weights) >= MIN_LABEL_PROBABILITY:  # also when a log-probability is not a number
        raise AnswerError("neither label is among the likely first tokens", _said(choice))
    return weights[0], weights[1]


def weights_from_votes(reply: Mapping[str, Any], num_votes: int) -> tuple[float, float]:
    """Votes for the two labels among the sampled choices of a chat completion.

    Raises AnswerError unless more than half of the `num_votes` choices are a label (as in the released code).
    """
    choices = _choices(reply)
    if 2 * len(choices) <= num_votes:
        raise AnswerError(
            "fewer choices came than half of the votes asked for (judge.method=separate_votes asks one by one)",
            f"{len(choices)} of {num_votes}",
        )
    labels = [label_of(_content(choice)) for choice in choices]
    votes = float(labels.count(0)), float(labels.count(1))
    if not 2 * sum(votes) > num_votes:
        other = next((choice for choice, label in zip(choices, labels, strict=True) if label is None), choices[0])
        raise AnswerError("no more than half of the votes name a label", _said(other))
    return votes


def vote_of(reply: Mapping[str, Any]) -> tuple[float, float]:
    """One vote for a label, where every vote is a call of its own; raises AnswerError if the answer is no label."""
    choice = _choices(reply)[0]
    label = label_of(_content(choice))
    if label is None:
        raise AnswerError("the answer names no label", _said(choice))
    return (1.0, 0.0) if label == 0 else (0.0, 1.0)


def grades_from_votes(reply: Mapping[str, Any]) -> list[float]:
    """The grades, 1 to 10, that the choices of a chat completion give; choices without one are left out.

    Raises AnswerError if none gives one.
    """
    choices = _choices(reply)
    found = [grade for choice in choices if (grade := grade_of(_content(choice))) is not None]
    if not found:
        raise AnswerError("the answer gives no grade from 1 to 10", _said(choices[0]))
    return [float(grade) for grade in found]


def grade_of(content: str | None) -> int | None:
    """The whole number from 1 to 10 that an answer consists of, such as `7`, `7/10` or `**7**`; None for all else."""
    found = re.fullmatch(r"\W*(\d{1,2})(?:\s*/\s*10)?\W*", content or "")
    return int(found[1]) if found and int(found[1]) in GRADES else None


def num_choices(reply: Mapping[str, Any]) -> int:
    """How many choices a chat completion has; raises AnswerError if it is none."""
    return len(_choices(reply))


def usage(reply: Any) -> tuple[int, int] | None:
    """Tokens of the prompt and of the completion that the endpoint says it has used; None where it does not say."""
    said = reply.get("usage") if isinstance(reply, Mapping) else None
    if not isinstance(said, Mapping):
        return None
    prompt, completion = said.get("prompt_tokens"), said.get("completion_tokens", 0)
    if isinstance(prompt, int) and isinstance(completion, int) and prompt >= 0 and completion >= 0:
        return prompt, completion
    return None


def _choices(reply: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    choices = reply.get("choices") if isinstance(reply, Mapping) else None
    if not isinstance(choices, list) or not choices or not all(isinstance(choice, Mapping) for choice in choices):
        raise AnswerError("the reply is no chat completion", repr(reply)[:80])
    return choices


def _content(choice: Mapping[str, Any]) -> str | None:
    message = choice.get("message")
    content = message.get("content") if isinstance(message, Mapping) else None
    return content if isinstance(content, str) else None


def _said(choice: Mapping[str, Any]) -> str:
    return f"the answer was {_content(choice)!r}"[:80]


def probability_of_b(weights: Floats) -> Floats:
    """p(the text shown as B is preferred) = w_B / (w_A + w_B).

    `weights`: (..., 2), labels last, NaN where the request failed. Returns (...), NaN there too.
    """
    return weights[..., 1] / weights.sum(axis=-1)


def preferences(weights: Floats) -> Floats:
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
    preference = preferences(weights)
    matrices = {name: np.full((len(weights), 2, 2), ABSENT) for name in ("votes_a", "votes_b", "average")}
    for order, (i, j) in enumerate([(0, 1), (1, 0)]):
        for label, name in enumerate(["votes_a", "votes_b"]):
            matrices[name][:, i, j] = np.nan_to_num(weights[:, order, label], nan=ABSENT)
        matrices["average"][:, i, j] = np.nan_to_num(preference if order == 0 else 1.0 - preference, nan=ABSENT)
    return matrices


def grade_preferences(grades: Floats, first: NDArray[np.int64], second: NDArray[np.int64]) -> Floats:
    """P(text `second` ≻ text `first`) = P(g₂ > g₁) + ½ P(g₂ = g₁), over all pairs of one grade of each.

    `grades`: (texts, votes), NaN where a vote is missing; `first`, `second`: (pairs,) rows of it. Returns (pairs,), NaN
    where a text has no grade.
    """
    shares = np.stack([(grades == grade).sum(axis=1) for grade in GRADES], axis=1).astype(np.float64)
    with np.errstate(invalid="ignore"):
        shares /= shares.sum(axis=1, keepdims=True)  # (texts, 10)
    below = np.cumsum(shares, axis=1) - shares / 2  # P(g < k) + ½ P(g = k)
    return (shares[second] * below[first]).sum(axis=1)


def grade_matrices(preference: Floats) -> dict[str, Floats]:
    """The columns of the released judgments for pairs whose texts were graded apart: no votes, (pairs, 2, 2)."""
    matrices = {name: np.full((len(preference), 2, 2), ABSENT) for name in ("votes_a", "votes_b", "average")}
    matrices["average"][:, 0, 1] = np.nan_to_num(preference, nan=ABSENT)
    matrices["average"][:, 1, 0] = np.nan_to_num(1.0 - preference, nan=ABSENT)
    return matrices


def agreement(weights: Floats) -> dict[str, float | int | None]:
    """How the two orders of the pairs agree, over the pairs where both were answered; None where there are none.

    - `orders_agree`: share of pairs in which both orders prefer the same text;
    - `positional_bias`: mean probability of label A minus ½, in [−½, ½]: above 0, the first place helps.
      It is the mean of ½ ((1 − p_BA) − p_AB), and cancels in the average of the two orders;
    - `mean_order_gap`: mean of |p_AB − (1 − p_BA)|, of which noise is a part too;
    - `confident`: share of pairs with |2p − 1| ≥ 0.5, those that a rater trains on.
    """
    p = probability_of_b(weights)
    p = p[~np.isnan(p).any(axis=1)]
    if not len(p):
        return dict.fromkeys(["orders_agree", "positional_bias", "mean_order_gap", "confident"]) | {"num_pairs": 0}
    first, second = p[:, 0], 1.0 - p[:, 1]  # both: P(text 1 ≻ text 0)
    return {
        "num_pairs": len(p),
        "orders_agree": float(np.mean((first >= 0.5) == (second >= 0.5))),
        "positional_bias": float(np.mean(second - first) / 2),
        "mean_order_gap": float(np.mean(np.abs(first - second))),
        "confident": float(np.mean(np.abs(first + second - 1.0) >= CONFIDENT)),
    }
