"""How well predicted scores match annotated ones: rank correlation, and agreement on the highest scores."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from qurating.metrics.ranks import spearman

TOP_FRACTION = 0.3  # as in DELT

MIN_SEQUENCES = 20  # of a domain with figures of its own


def top(values: npt.ArrayLike, fraction: float) -> npt.NDArray[np.bool_]:
    """Which of the values (N,) are among the ⌊fraction · N⌋ highest; among equal values the first win."""
    scores = np.asarray(values)
    chosen = np.zeros(len(scores), dtype=bool)
    chosen[np.argsort(-scores, kind="stable")[: int(fraction * len(scores))]] = True
    return chosen


def agreement_at_the_top(annotated: npt.ArrayLike, predicted: npt.ArrayLike, fraction: float) -> dict[str, float | int]:
    """How well the prediction classifies sequences into those at the top of the annotation and the others.

    Accuracy and F1, and the averages of a random choice of the same size: with the share f = ⌊fraction · N⌋ / N of the
    sequences, accuracy f² + (1 − f)², F1 f. If the top is empty, F1 is 0.
    """
    wanted, chosen = top(annotated, fraction), top(predicted, fraction)
    share = float(wanted.mean())
    return {
        "fraction": fraction,
        "num_sequences": int(wanted.sum()),
        "accuracy": float((wanted == chosen).mean()),
        "accuracy_by_chance": share**2 + (1 - share) ** 2,
        "f1": float((wanted & chosen).sum() / max(1, wanted.sum())),
        "f1_by_chance": share,
    }


def report(
    annotated: npt.NDArray[np.float64],
    predicted: npt.NDArray[np.float64],
    clip: float,
    domains: Sequence[str],
) -> dict[str, Any]:
    """The figures of `validation.json`: over all sequences, and by domain for domains of at least MIN_SEQUENCES.

    Args:
        annotated: (N,) scores in standard deviations; ranks are of these, errors of these clipped to ±clip.
        predicted: (N,) in the same unit.
        domains: of the N sequences.
    """
    names = np.array(domains, dtype=object)
    shown = [name for name in sorted(set(domains)) if (names == name).sum() >= MIN_SEQUENCES]
    return _figures(annotated, predicted, clip) | {
        "by_domain": {name: _figures(annotated[names == name], predicted[names == name], clip) for name in shown}
    }


def _figures(annotated: npt.NDArray[np.float64], predicted: npt.NDArray[np.float64], clip: float) -> dict[str, Any]:
    label = np.clip(annotated, -clip, clip)
    return {
        "num_sequences": len(label),
        "spearman": spearman(annotated, predicted),
        "mse": float(((predicted - label) ** 2).mean()),
        "mse_of_the_mean": float(label.var()),  # the error of predicting their mean
        "top": agreement_at_the_top(annotated, predicted, TOP_FRACTION),
    }
