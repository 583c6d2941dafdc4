"""Rules that select sequences up to an exact budget of tokens (QuRating §4).

Sampling without replacement with p(d) ∝ exp(s_d / τ) is top-k on s_d + τ g_d with g_d ~ Gumbel(0, 1). The noise of a
sequence is a function of (seed, id) alone. Rows come in chunks, in several passes, and are never all in memory: first a
statistics pass (`qurating.selection.statistics`), then ranking and cutting (`qurating.selection.cutoff`).
"""

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping

import numpy as np

from qurating.selection import budgets, statistics
from qurating.selection.cutoff import Keyed, Selected, take_top
from qurating.selection.noise import Floats, check_temperature, gumbel
from qurating.selection.rows import Chunk, Rows
from qurating.selection.statistics import RowStatistics

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
    """Select sequences up to a budget of tokens; in each domain, the one that crosses its budget is the last.

    Args:
        rows: with the scores of one criterion, or of several to combine; τ = ∞ needs none.
        seed: of the noise.
        num_tokens: the budget, in tokens.
        temperature: τ. 0 takes the highest scores, infinity draws uniformly, in between p(d) ∝ exp(s_d / τ).
        inverse: prefer low scores.
        normalisation: of each criterion's scores, `global` to zero mean and unit deviation over all rows, `per_domain`
            over each domain's, or `none`.
        combination: of several criteria: `sum`, weighted by `weights`, or `minimum`. With `normalisation: global` or
            `per_domain` the combined score is normalised once more.
        weights: of the criteria in a sum; None: equal.
        domain_weights: shares of the domains in the budget; None: in proportion to their tokens.
        on_short_domain: with `domain_weights`: `stop`, or `redistribute` (see `budgets.by_domain`).

    Raises:
        ValueError: a budget that the rows cannot fill, scores that are NaN or infinite, lengths below zero, ids that
            occur twice, a negative temperature, or an unknown setting.
    """
    check_temperature(temperature)
    row_statistics = statistics.statistics_pass(rows, normalisation)
    score = _score(rows, row_statistics, combination, weights, temperature)
    each = budgets.by_domain(num_tokens, row_statistics.tokens_by_domain(), domain_weights, on_short_domain)
    return _take(rows, row_statistics, _keys(score, temperature, inverse, seed), row_statistics.in_order(each))


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
    """Each criterion selects its share of the budget; no sequence is selected twice.

    The criteria select one after another, in the order of `rows.criteria`. Each takes its share of every domain's
    budget from the sequences that are left, and so continues down its own list past those already taken. If a sequence
    crosses a share, the excess is subtracted from the share of the next criterion, so that the budget of the domain is
    met exactly. Each criterion draws with its own noise.

    Args:
        weights: shares of the criteria in the budget; None: equal. Others as for `select`.

    Raises:
        ValueError: as `select`; no criterion, or weights of others.
    """
    check_temperature(temperature)
    if not rows.criteria:
        raise ValueError("a mix needs at least one criterion")
    given = _weights_of(rows.criteria, weights)
    row_statistics = statistics.statistics_pass(rows, normalisation)
    each = budgets.by_domain(num_tokens, row_statistics.tokens_by_domain(), domain_weights, on_short_domain)
    budget = row_statistics.in_order(each)
    taken: Selected | None = None
    upto = np.zeros_like(budget)  # tokens of each domain that the criteria up to here may take
    parts = np.array([budgets.shares(tokens, given) for tokens in budget.tolist()]).reshape(len(budget), len(given))
    for place, criterion in enumerate(rows.criteria):
        upto += parts[:, place]
        keys = _keys(_normalised(row_statistics, criterion), temperature, inverse, _seed_of(seed, criterion))
        if taken is None:
            taken = _take(rows, row_statistics, keys, upto)
        else:
            used = _tokens(rows, taken, len(budget))
            free, left = ~taken, row_statistics.tokens - used
            taken = taken | _take(rows, row_statistics, keys, np.maximum(upto - used, 0), free, left)
    assert taken is not None
    return taken


def pool(
    rows: Rows,
    *,
    seed: int,
    num_tokens: int,
    fraction: float,
    inverse: bool = False,
    domain_weights: Mapping[str, float] | None = None,
    on_short_domain: str = budgets.STOP,
) -> Selected:
    """Draw uniformly, up to a budget of tokens, from the pool: the highest scores with a fraction of all tokens.

    The pool has the fraction of each domain's tokens, the sequence that crosses it included.

    Args:
        fraction: of the tokens, in (0, 1]. With 1 the draw is that of `select` at τ = ∞ with the same seed.
        inverse: the pool has the lowest scores.
        domain_weights: shares of the domains in the budget; None: in proportion to their tokens in all rows.
        on_short_domain: with `domain_weights`, where the pool of a domain holds less than its share. Others as for
            `select`.

    Raises:
        ValueError: as `select`; a fraction outside (0, 1], or a pool that holds less than the budget (says both).
    """
    criterion = _the_criterion(rows)
    row_statistics = statistics.statistics_pass(rows)
    tokens = row_statistics.tokens_by_domain()
    share = row_statistics.in_order(budgets.by_domain(num_tokens, tokens))
    size = budgets.pool_tokens(fraction, sum(tokens.values()), int(num_tokens))
    # rounding may give a domain a token more of a smaller total
    least = np.maximum(row_statistics.in_order(budgets.by_domain(size, tokens)), share)
    highest = _keys(lambda chunk: chunk.scores[criterion], 0.0, inverse, seed)
    held = _take(rows, row_statistics, highest, least)
    held_tokens = _tokens(rows, held, len(tokens))
    if domain_weights is not None:
        in_pool = dict(zip(row_statistics.names, held_tokens.tolist(), strict=True))
        try:
            given = budgets.by_domain(num_tokens, in_pool, domain_weights, on_short_domain)
        except ValueError as error:
            raise ValueError(f"in the pool, a fraction of {fraction:g} of each domain: {error}") from error
        share = row_statistics.in_order(given)
    return _take(rows, row_statistics, _keys(None, math.inf, False, seed), share, held, held_tokens)


def threshold(rows: Rows, *, seed: int, minimum: float, inverse: bool = False) -> Selected:
    """All sequences with a score of at least `minimum` (at most, if `inverse`), without a budget and without noise.

    The score is the rating itself, not normalised. Raises ValueError as `select`, or if no sequence passes.
    """
    statistics.statistics_pass(rows)
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
            f"no score is {'at most' if inverse else 'at least'} {minimum}; the scores lie between {lowest:.4g} and "
            f"{highest:.4g}"
        )
    return selected


def top_r(rows: Rows, *, seed: int, fraction: float, inverse: bool = False) -> Selected:
    """The ⌊r·N⌋ sequences with the highest scores (DELT), regardless of lengths and domains; ties by id.

    Raises ValueError as `select`, or for a fraction outside (0, 1] or one that selects nothing.
    """
    if not 0 < fraction <= 1:
        raise ValueError(f"the fraction must lie in (0, 1], not {fraction}")
    criterion = _the_criterion(rows)
    row_statistics = statistics.statistics_pass(rows)
    count = int(fraction * len(rows))
    if not count:
        raise ValueError(f"a fraction of {fraction} of {len(rows):,} sequences is none")

    def ranked(chunk: Chunk) -> Keyed:
        size = len(chunk.ids)
        keys = -chunk.scores[criterion] if inverse else chunk.scores[criterion]
        return Keyed(keys, chunk.ids, np.ones(size, np.int64), np.zeros(size, np.int32))

    sample = ranked(row_statistics.sample[0]) if row_statistics.sample is not None else None
    return take_top(lambda: map(ranked, rows.chunks()), np.array([count]), sample, np.array([len(rows)]))


def _keys(score: Keys | None, temperature: float, inverse: bool, seed: int) -> Keys:
    """The ranking key s + τ g, which has the order of s / τ + g."""

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
    row_statistics: RowStatistics,
    keys: Keys,
    budget: np.ndarray,
    among: Selected | None = None,
    tokens: np.ndarray | None = None,
) -> Selected:
    """The highest keys up to a budget (D,), of the rows in `among`, which have `tokens` (D,); None: of all rows."""

    def keyed(chunk: Chunk, is_among: np.ndarray | None) -> Keyed:
        domains = chunk.domains if is_among is None else np.where(is_among, chunk.domains, np.int32(-1))
        return Keyed(keys(chunk), chunk.ids, chunk.lengths, domains)

    def passes() -> Iterator[Keyed]:
        for place, chunk in enumerate(rows.chunks()):
            yield keyed(chunk, None if among is None else among[place])

    sample = None
    if row_statistics.sample is not None:
        chunk, places = row_statistics.sample
        sample = keyed(chunk, None if among is None else among.at(places))
    return take_top(passes, budget, sample, row_statistics.tokens if tokens is None else tokens)


def _tokens(rows: Rows, taken: Selected, num_domains: int) -> np.ndarray:
    """Selected tokens of each domain."""
    tokens = np.zeros(num_domains, np.int64)
    for place, chunk in enumerate(rows.chunks()):
        mask = taken[place]
        tokens += np.bincount(chunk.domains[mask], chunk.lengths[mask], num_domains).astype(np.int64)
    return tokens


def _score(
    rows: Rows,
    row_statistics: RowStatistics,
    combination: str | None,
    weights: Mapping[str, float] | None,
    temperature: float,
) -> Keys | None:
    """The normalised score of the rows of a chunk; None without scores."""
    if not rows.criteria:
        if not math.isinf(temperature):
            raise ValueError("no scores to select by: without scores, the temperature must be infinite")
        return None
    if combination is None:
        return _normalised(row_statistics, _the_criterion(rows))
    each = [_normalised(row_statistics, name) for name in rows.criteria]
    if combination == "sum":
        parts = _weights_of(rows.criteria, weights, below_zero=True)

        def combined(chunk: Chunk) -> Floats:
            return np.sum([part * score(chunk) for part, score in zip(parts, each, strict=True)], axis=0)

    elif combination == "minimum":

        def combined(chunk: Chunk) -> Floats:
            return np.min([score(chunk) for score in each], axis=0)

    else:
        raise ValueError(f"criteria are combined by sum or minimum, not by {combination!r}")
    sums = statistics.Sums(row_statistics.sums[rows.criteria[0]].normalisation)
    if sums.normalisation != statistics.NONE:
        for chunk in rows.chunks():
            sums.add(combined(chunk), chunk.domains)
    return lambda chunk: sums.standardised(combined(chunk), chunk.domains)


def _normalised(row_statistics: RowStatistics, criterion: str) -> Keys:
    return lambda chunk: row_statistics.sums[criterion].standardised(chunk.scores[criterion], chunk.domains)


def _the_criterion(rows: Rows) -> str:
    if len(rows.criteria) != 1:
        raise ValueError(
            f"this rule selects by one criterion, not by {len(rows.criteria)} ({', '.join(rows.criteria) or 'none'})"
        )
    return rows.criteria[0]


def _weights_of(criteria: list[str], weights: Mapping[str, float] | None, below_zero: bool = False) -> list[float]:
    """One weight per criterion, in order."""
    if weights is None:
        return [1.0] * len(criteria)
    budgets.check_weights(weights, "criteria", below_zero)
    if set(weights) != set(criteria):
        raise ValueError(f"weights are of {', '.join(weights)}; the criteria are {', '.join(criteria)}")
    return [float(weights[name]) for name in criteria]


def _seed_of(seed: int, criterion: str) -> int:
    digest = hashlib.blake2b(f"{seed}/{criterion}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
