"""The statistics of the study: ranks by kind, cheaper annotations, intervals."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt

from qurating.lqs.optimal_control import contributions, denominator_steps, visited_steps
from qurating.metrics.ranks import ranks, spearman

Floats = npt.NDArray[np.float64]
Names = npt.NDArray[np.str_]

# 97.5 % of Student's t lie below, by degrees of freedom
T_QUANTILE = {1: 12.706, 2: 4.303, 3: 3.182, 4: 2.776}


def percentiles(scores: npt.ArrayLike) -> Floats:
    """Rank percentiles (N,): 0 is the lowest score, 1 the highest, ½ the average of chance."""
    ranked = ranks(scores) - 1
    return ranked / max(1, len(ranked) - 1)


def interval(values: npt.ArrayLike, level: float = 0.95) -> list[float]:
    """The percentile interval of resampled values."""
    tail = 50 * (1 - level)
    return [float(v) for v in np.percentile(np.asarray(values), [tail, 100 - tail])]


def t_interval(values: Sequence[float]) -> list[float]:
    """The 95 % interval of a mean by Student's t, for values that are independent and about normal, as one per seed."""
    half = T_QUANTILE[len(values) - 1] * np.std(values, ddof=1) / np.sqrt(len(values))
    return [float(np.mean(values) - half), float(np.mean(values) + half)]


def mean_by_kind(
    values: Floats, kinds: Names, documents: Names, num_resamples: int = 2000, seed: int = 0
) -> dict[str, dict[str, float | int | list[float]]]:
    """The mean of each kind's values, and its 95 % bootstrap interval over documents.

    Sequences of a document resemble each other: documents are drawn with replacement, with all of their sequences.
    """
    draw = np.random.default_rng(seed)
    found: dict[str, dict[str, float | int | list[float]]] = {}
    for kind in dict.fromkeys(kinds.tolist()):
        of_kind = values[kinds == kind]
        _, group = np.unique(documents[kinds == kind], return_inverse=True)
        sums, counts = np.bincount(group, of_kind), np.bincount(group)
        picked = draw.integers(len(sums), size=(num_resamples, len(sums)))
        means = sums[picked].sum(1) / counts[picked].sum(1)
        found[kind] = {
            "mean": float(of_kind.mean()),
            "interval": interval(means),
            "sequences": len(of_kind),
            "documents": len(sums),
        }
    return found


def correlation(a: Floats, b: Floats, num_resamples: int = 1000, seed: int = 0) -> dict[str, float | int | list[float]]:
    """Spearman's correlation of (N,) and (N,), and its 95 % bootstrap interval over the N."""
    draw = np.random.default_rng(seed)
    picks = draw.integers(len(a), size=(num_resamples, len(a)))
    return {
        "spearman": spearman(a, b),
        "interval": interval([spearman(a[pick], b[pick]) for pick in picks]),
        "sequences": len(a),
    }


def within_kinds(a: Floats, b: Floats, kinds: Names, num_resamples: int = 1000, seed: int = 0) -> dict[str, object]:
    """Spearman's correlation within each kind, their mean, and its 95 % bootstrap interval over sequences.

    A score that depends on the kind alone has 0 here.
    """
    groups = {kind: np.flatnonzero(kinds == kind) for kind in dict.fromkeys(kinds.tolist())}
    groups = {kind: rows for kind, rows in groups.items() if len(rows) > 2}
    by_kind = {kind: spearman(a[rows], b[rows]) for kind, rows in groups.items()}
    draw = np.random.default_rng(seed)
    means = []
    for _ in range(num_resamples):
        picked = [draw.choice(rows, len(rows)) for rows in groups.values()]
        means.append(np.mean([spearman(a[rows], b[rows]) for rows in picked]))
    return {"by_kind": by_kind, "mean": float(np.mean(list(by_kind.values()))), "interval": interval(means)}


def by_kind_alone(scores: Floats, kinds: Names, wanted: Names) -> Floats:
    """For each of the wanted kinds the mean score of that kind."""
    means = {kind: scores[kinds == kind].mean() for kind in set(kinds.tolist())}
    return np.array([means[kind] for kind in wanted.tolist()])


def score(dots: Floats, norms: Floats, interval: int, denominator: str) -> Floats:
    """Scores (N,) of another interval or denominator, from an annotation at every step.

    Args:
        dots: (T − 1, N), ⟨λ_{t+1}, ∇ℓ(x_n, θ_t)⟩ for t = 1 … T − 1.
        norms: (T, N), ‖∇ℓ(x_n, θ_t)‖ for t = 1 … T.
    """
    num_steps = len(norms)
    visited = visited_steps(num_steps, interval)
    divisors = denominator_steps(visited, num_steps, denominator)
    taken = dots[np.array(visited) - 1]
    return contributions(taken, norms[np.array(divisors) - 1] if divisors else np.ones_like(taken))


def released(
    dots: Floats, norms: Floats, interval: int, batch_size: int, *, first_is_one: bool, broadcast: bool
) -> Floats:
    """Scores as the released annotation computes them, with either of its faults, or both.

    It goes backwards, and divides by the norms of the previously visited step; the first divisors are ones
    (`first_is_one`). In a batch of B samples it divides each dot product by the norms of all B (`broadcast`): it
    concatenates the rows of the B × B ratios, and the batches, and takes the first N numbers for the scores.
    """
    num_steps, num_samples = norms.shape
    visited = visited_steps(num_steps, interval)
    divisors = norms[np.array(denominator_steps(visited, num_steps, "next_visited")) - 1].copy()
    if first_is_one:
        divisors[-1] = 1.0
    taken = dots[np.array(visited) - 1]
    if not broadcast:
        return contributions(taken, divisors)
    found = np.zeros(num_samples)
    for dot, divisor in zip(taken, divisors, strict=True):
        parts = []
        for start in range(0, num_samples, batch_size):
            batch = slice(start, start + batch_size)
            parts.append((dot[batch, None] / divisor[None, batch]).ravel())
        found += np.concatenate(parts)[:num_samples]
    return found


def overlap(a: Floats, b: Floats, fraction: float) -> float:
    """The share of the highest `fraction` by one score that is also in the highest `fraction` by the other."""
    count = round(fraction * len(a))
    return len(set(np.argsort(-a)[:count].tolist()) & set(np.argsort(-b)[:count].tolist())) / count


def changes(
    nll: Mapping[str, Sequence[Floats]], num_tokens: Floats, reference: str, num_resamples: int = 2000, seed: int = 0
) -> dict[str, dict[str, object]]:
    """Change of perplexity against a reference in percent, with two intervals.

    Args:
        nll: for each method, for each seed, nats of the D held-out documents.
        num_tokens: of the documents.

    Returns:
        for each method `change` (of the mean nats over seeds), `by_seed`, `over_seeds` (95 %, Student's t, the paired
        differences of nats per token), `over_documents` (95 %, paired bootstrap, the mean over seeds).
    """
    base = np.stack(nll[reference])
    draw = np.random.default_rng(seed)
    picks = draw.integers(len(num_tokens), size=(num_resamples, len(num_tokens)))
    found: dict[str, dict[str, object]] = {}
    for method, by_seed in nll.items():
        difference = np.stack(by_seed) - base
        each = difference.sum(1) / num_tokens.sum()
        drawn = difference.mean(0)[picks].sum(1) / num_tokens[picks].sum(1)
        found[method] = {
            "change": _percent(each.mean()),
            "by_seed": [_percent(value) for value in each],
            "over_seeds": [_percent(value) for value in t_interval(each.tolist())],
            "over_documents": [_percent(value) for value in interval(drawn)],
            "perplexity": float(np.exp(np.stack(by_seed).sum(1).mean() / num_tokens.sum())),
        }
    return found


def _percent(nats: float) -> float:
    return float(100 * np.expm1(nats))
