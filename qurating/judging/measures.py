"""Measures of a judge from its judgments alone, and compared with people. Pure functions on numpy arrays."""

import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from qurating.judging.preferences import Floats, agreement
from qurating.metrics.shares import wilson

Indices = NDArray[np.int64]

_INSTRUCTION = re.compile(
    r"\b(?:choose|select|pick|prefer|answer|output|reply|respond|say|vote)\b[^.\n]{0,40}?(?:\btext\s+)?[\"'(]?\b[AB]\b"
    r"|ignore (?:all |any )?(?:the )?(?:previous|above|prior) instructions",
    re.IGNORECASE,
)


def addresses_the_judge(text: str) -> bool:
    """Whether a text seems to instruct the judge: "choose A", "ignore the previous instructions"."""
    return any(found[0][-1] in "ABsS" for found in _INSTRUCTION.finditer(text))


def with_instructions(weights: Floats, instructed: NDArray[np.bool_]) -> dict[str, float | int | None]:
    """Agreement of the two orders over the pairs in which a text instructs the judge.

    `weights`: (pairs, 2 orders, 2 labels), NaN where a request failed; `instructed`: (pairs,).
    """
    found = agreement(weights[instructed])
    return {
        "num_pairs_with_instructions": found["num_pairs"],
        "orders_agree_with_instructions": found["orders_agree"],
    }


def length_bias(
    preference: Floats, lengths: NDArray[np.int64], first: Indices, second: Indices
) -> dict[str, float | None]:
    """How preferences depend on length.

    - `longer_preferred`: mean P(longer ≻ shorter); ½ if length does not matter;
    - `length_correlation`: Pearson's r between P(second ≻ first) and log(length of second / length of first).

    `preference`: (pairs,) P(second ≻ first), NaN where absent; `lengths`: (texts,).
    """
    ratio = np.log(np.maximum(lengths[second], 1) / np.maximum(lengths[first], 1))
    usable = ~np.isnan(preference) & (ratio != 0)
    p, ratio = preference[usable], ratio[usable]
    if len(p) < 2 or not p.std() or not ratio.std():
        return {"longer_preferred": _mean(np.where(ratio > 0, p, 1 - p)), "length_correlation": None}
    return {
        "longer_preferred": _mean(np.where(ratio > 0, p, 1 - p)),
        "length_correlation": float(np.corrcoef(p, ratio)[0, 1]),
    }


def transitivity(preference: Floats, first: Indices, second: Indices) -> dict[str, Any]:
    """Share of transitive triples among three texts with all three pairs judged (guessing: 75 %), its 95 % interval.

    The interval takes triples as independent, which those with a text in common are not quite. At most a million
    triples are counted. `preference`: (pairs,) P(second ≻ first), NaN where absent.
    """
    wins: dict[int, dict[int, bool]] = {}
    for p, i, j in zip(preference.tolist(), first.tolist(), second.tolist(), strict=True):
        if p == p:
            wins.setdefault(i, {})[j] = p < 0.5
            wins.setdefault(j, {})[i] = p >= 0.5
    num_triples = num_cycles = 0
    for i, of_i in wins.items():
        for j in of_i:
            if j < i:
                continue
            for k in of_i.keys() & wins[j].keys():
                if k > j and num_triples < 1_000_000:
                    num_triples += 1
                    num_cycles += of_i[j] == wins[j][k] == wins[k][i]
    if not num_triples:
        return {"num_triples": 0, "transitive": None, "transitive_interval": None}
    share = 1 - num_cycles / num_triples
    return {"num_triples": num_triples, "transitive": share, "transitive_interval": list(wilson(share, num_triples))}


def kendall_tau(a: Sequence[float] | Floats, b: Sequence[float] | Floats) -> float | None:
    """Kendall's τ-b of two rankings of the same items: ties count for neither side; None if all are tied.

    Compares every pair, so it is for short lists, such as those that people have ranked.
    """
    i, j = np.triu_indices(len(a), 1)
    x, y = (np.sign(np.asarray(values, np.float64)[i] - np.asarray(values, np.float64)[j]) for values in (a, b))
    pairs = float(np.sqrt(np.abs(x).sum() * np.abs(y).sum()))
    return float((x * y).sum() / pairs) if pairs else None


def win_rates(preference: Floats, first: Indices, second: Indices, num_texts: int) -> Floats:
    """Mean P(text ≻ another) of each text over its pairs; NaN for a text without pairs. Returns (texts,)."""
    usable = ~np.isnan(preference)
    total, count = np.zeros(num_texts), np.zeros(num_texts)
    for places, p in ((second, preference), (first, 1.0 - preference)):
        np.add.at(total, places[usable], p[usable])
        np.add.at(count, places[usable], 1)
    return np.divide(total, count, out=np.full(num_texts, np.nan), where=count > 0)


def same_side(one: Floats, other: Floats) -> dict[str, float | int | None]:
    """Agreement of two judgments of the same pairs: share on the same side of ½ (without ties), and Pearson's r."""
    both = ~np.isnan(one) & ~np.isnan(other)
    sided = both & (one != 0.5) & (other != 0.5)
    varied = both.sum() > 1 and one[both].std() > 0 and other[both].std() > 0
    return {
        "num_pairs": int(both.sum()),
        "agree": _mean((one[sided] > 0.5) == (other[sided] > 0.5)),
        "correlation": float(np.corrcoef(one[both], other[both])[0, 1]) if varied else None,
    }


def _mean(values: NDArray[np.bool_] | Floats) -> float | None:
    return float(np.mean(values)) if len(values) else None
