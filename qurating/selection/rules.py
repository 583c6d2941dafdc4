"""Which sequences to keep: selection to an exact budget in tokens (QuRating §4).

Sampling without replacement with p(d) ∝ exp(s_d / τ) is top-k on s_d + τ g_d with g_d ~ Gumbel(0, 1). The noise of a
sequence is a function of (seed, id) alone. Rows come in chunks, are passed over several times and never held at once:
first they are surveyed (`qurating.selection.statistics`), then ranked and taken (`qurating.selection.cutoff`).
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from qurating.selection import budgets, statistics
from qurating.selection.cutoff import Keyed, Selected, take_top
from qurating.selection.noise import Floats, check_temperature, gumbel
from qurating.selection.rows import Chunk, Rows
from qurating.selection.statistics import Survey

Keys = Callable[[Chunk], Floats]


def select(
    rows: Rows,
    *,
    seed: int,
    num_tokens: int,
    temperature: float = 0.0,
    inverse: bool = False,
    normalisation: str = statistics.GLOBAL,
    combination: str | None = None,
    weights: Mapping[str, float] | None = None,
    domain_weights: Mapping[str, float] | None = None,
    on_short_domain: str = budgets.STOP,
) -> Selected:
    """Select sequences up to a budget of tokens; in each domain the one that crosses its budget is the last taken.

    Args:
        rows: with the scores of one criterion, or of several to combine; with none for τ = ∞.
        seed: of the noise.
        num_tokens: the budget, in tokens.
        temperature: τ. 0 takes the highest scores, infinity draws uniformly, in between p(d) ∝ exp(s_d / τ).
        inverse: prefer low scores.
        normalisation: of each criterion's scores, `global` to zero mean and unit deviation over all rows, `per_domain`
            over each domain's, or `none`.
        combination: of several criteria: `sum`, weighted by `weights`, or `minimum`. With `normalisation: global` or
            `per_domain` the combined score is normalised once more.
        weights: of the criteria in a sum; None: alike.
        domain_weights: shares of the domains in the budget; None: in proportion to their tokens.
        on_short_domain: of given weights: `stop`, or `redistribute` (see `budgets.by_domain`).

    Raises:
        ValueError: a budget that is not to be had, scores that are NaN or infinite, lengths below zero, ids that occur
            twice, a negative temperature, or a setting that there is not.
    """
    check_temperature(temperature)
    found = statistics.survey(rows, normalisation)
    score = _score(rows, found, combination, weights, temperature)
    each = budgets.by_domain(num_tokens, found.tokens_by_domain(), domain_weights, on_short_domain)
    return _take(rows, found, _keys(score, temperature, inverse, seed), found.in_order(each))


def mix(
    rows: Rows,
    *,
    seed: int,
    num_tokens: int,
    temperature: float = 2.0,
    inverse: bool = False,
    normalisation: str = statistics.GLOBAL,
    weights: Mapping[str, float] | None = None,
    domain_weights: Mapping[str, float] | None = None,
    on_short_domain: str = budgets.STOP,
) -> Selected:
    """A share of the budget from each criterion's own selection, no sequence twice.

    The criteria select one after another, in the order of `rows.criteria`, each its share of every domain's budget from
    what those before have left; one whose choice is gone thus goes on down its own list. Where a sequence crosses a
    share, what it brings beyond is taken from the next criterion's, so that the domain's budget is met exactly. The
    criteria draw with noise of their own.

    Args:
        weights: shares of the criteria in the budget; None: alike. Others as for `select`.

    Raises:
        ValueError: as `select`; no criterion, or weights of others.
    """
    check_temperature(temperature)
    if not rows.criteria:
        raise ValueError("a mix needs at least one criterion")
    given = _weights_of(rows.criteria, weights)
    found = statistics.survey(rows, normalisation)
    each = budgets.by_domain(num_tokens, found.tokens_by_domain(), domain_weights, on_short_domain)
    budget = found.in_order(each)
    taken: Selected | None = None
    upto = np.zeros_like(budget)  # tokens of each domain that the criteria up to here may take
    parts = np.array([budgets.shares(tokens, given) for tokens in budget.tolist()]).reshape(len(budget), len(given))
    for place, criterion in enumerate(rows.criteria):
        upto += parts[:, place]
        keys = _keys(_normalised(found, criterion), temperature, inverse, _seed_of(seed, criterion))
        used = _tokens(rows, taken, len(budget)) if taken is not None else np.zeros_like(budget)
        chosen = _take(rows, found, keys, np.maximum(upto - used, 0), taken, used)
        taken = chosen if taken is None else taken | chosen
    assert taken is not None
    return taken


def threshold(rows: Rows, *, seed: int, minimum: float, inverse: bool = False) -> Selected:
    """All sequences with a score of at least `minimum` (at most, if `inverse`); no budget, and nothing drawn.

    The score is the rating as it stands, not normalised. Raises ValueError as `select`, or where nothing passes.
    """
    statistics.survey(rows)
    criterion = _the_criterion(rows)
    selected, lowest, highest, count = Selected(), math.inf, -math.inf, 0
    for chunk in rows.chunks():
        scores = chunk.scores[criterion]
        mask = scores <= minimum if inverse else scores >= minimum
        selected.add(mask)
        count += int(mask.sum())
        lowest, highest = min(lowest, scores.min(initial=math.inf)), max(highest, scores.max(initial=-math.inf))
    if not count:
        raise ValueError(
            f"no score is {'at most' if inverse else 'at least'} {minimum}; they lie between {lowest:.4g} and "
            f"{highest:.4g}"
        )
    return selected


def top_r(rows: Rows, *, seed: int, fraction: float, inverse: bool = False) -> Selected:
    """The ⌊r·N⌋ sequences with the highest scores (DELT), whatever their lengths and domains; ties by id.

    Raises ValueError as `select`, or for a fraction outside (0, 1] or that leaves no sequence.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"the fraction must lie in (0, 1], not {fraction}")
    criterion = _the_criterion(rows)
    found = statistics.survey(rows)
    count = int(fraction * len(rows))
    if not count:
        raise ValueError(f"a fraction of {fraction} of {len(rows):,} sequences is none")

    def ranked(chunk: Chunk) -> Keyed:
        size = len(chunk.ids)
        keys = -chunk.scores[criterion] if inverse else chunk.scores[criterion]
        return Keyed(keys, chunk.ids, np.ones(size, np.int64), np.zeros(size, np.int32))

    sample = ranked(found.sample[0]) if found.sample is not None else None
    return take_top(lambda: map(ranked, rows.chunks()), np.array([count]), sample, np.array([len(rows)]))


def _keys(score: Keys | None, temperature: float, inverse: bool, seed: int) -> Keys:
    """What rows are ranked by: s + τ g, which has the order of s / τ + g."""

    def keys(chunk: Chunk) -> Floats:
        if score is None or math.isinf(temperature):
            return gumbel(chunk.ids, seed)
        value = score(chunk)
        if inverse:
            value = -value
        if temperature > 0:
            noise = gumbel(chunk.ids, seed)
            noise *= temperature
            noise += value
            return noise
        return value

    return keys


def _take(
    rows: Rows,
    found: Survey,
    keys: Keys,
    budget: np.ndarray,
    taken: Selected | None = None,
    used: np.ndarray | int = 0,
) -> Selected:
    """The highest keys up to a budget (D,), of the rows that are not `taken`, which have `used` (D,) tokens."""

    def keyed(chunk: Chunk, is_taken: np.ndarray | None) -> Keyed:
        domains = chunk.domains if is_taken is None else np.where(is_taken, np.int32(-1), chunk.domains)
        return Keyed(keys(chunk), chunk.ids, chunk.lengths, domains)

    def passes() -> Iterator[Keyed]:
        for place, chunk in enumerate(rows.chunks()):
            yield keyed(chunk, None if taken is None else taken[place])

    sample = None
    if found.sample is not None:
        chunk, places = found.sample
        sample = keyed(chunk, None if taken is None else taken.at(places))
    return take_top(passes, budget, sample, found.tokens - used)


def _tokens(rows: Rows, taken: Selected, num_domains: int) -> np.ndarray:
    """Tokens of each domain that are taken."""
    totals = np.zeros(num_domains, np.int64)
    for place, chunk in enumerate(rows.chunks()):
        mask = taken[place]
        totals += np.bincount(chunk.domains[mask], chunk.lengths[mask], num_domains).astype(np.int64)
    return totals


def _score(
    rows: Rows, found: Survey, combination: str | None, weights: Mapping[str, float] | None, temperature: float
) -> Keys | None:
    """The normalised score of a chunk's rows; None where nothing is scored."""
    if not rows.criteria:
        if not math.isinf(temperature):
            raise ValueError("there are no scores to select by: only an infinite temperature does without")
        return None
    if combination is None:
        return _normalised(found, _the_criterion(rows))
    each = [_normalised(found, name) for name in rows.criteria]
    if combination == "sum":
        parts = _weights_of(rows.criteria, weights, below_zero=True)

        def combined(chunk: Chunk) -> Floats:
            return np.sum([part * score(chunk) for part, score in zip(parts, each, strict=True)], axis=0)

    elif combination == "minimum":

        def combined(chunk: Chunk) -> Floats:
            return np.min([score(chunk) for score in each], axis=0)

    else:
        raise ValueError(f"criteria are combined by sum or minimum, not by {combination!r}")
    sums = statistics.Sums(found.sums[rows.criteria[0]].normalisation)
    if sums.normalisation != statistics.NONE:
        for chunk in rows.chunks():
            sums.add(combined(chunk), chunk.domains)
    return lambda chunk: sums.standardised(combined(chunk), chunk.domains)


def _normalised(found: Survey, criterion: str) -> Keys:
    return lambda chunk: found.sums[criterion].standardised(chunk.scores[criterion], chunk.domains)


def _the_criterion(rows: Rows) -> str:
    if len(rows.criteria) != 1:
        raise ValueError(
            f"this selects by one criterion, not by {len(rows.criteria)} ({', '.join(rows.criteria) or 'none'})"
        )
    return rows.criteria[0]


def _weights_of(criteria: list[str], weights: Mapping[str, float] | None, below_zero: bool = False) -> list[float]:
    """One weight a criterion, in order."""
    if weights is None:
        return [1.0] * len(criteria)
    budgets.check_weights(weights, "criteria", below_zero)
    if set(weights) != set(criteria):
        raise ValueError(f"weights are of {', '.join(weights)}; the criteria are {', '.join(criteria)}")
    return [float(weights[name]) for name in criteria]


def _seed_of(seed: int, criterion: str) -> int:
    digest = hashlib.blake2b(f"{seed}/{criterion}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
