"""Selections that are simulated: the composition from top-k to uniform, and the effect of normalising by domain."""

import math

import numpy as np
import pyarrow as pa

from qurating.analysis.rated import DOMAIN, Counts, Floats, Groups, Mask, Rated
from qurating.analysis.tables import from_rows
from qurating.corpus.hashing import Ids, as_ids
from qurating.selection.cutoff import Keyed, take_top
from qurating.selection.noise import gumbel
from qurating.selection.statistics import GLOBAL, PER_DOMAIN, Sums, is_equal, normalise

NUM_TEMPERATURES = 30
LOWEST, HIGHEST = 0.05, 20.0  # between top-k (0) and uniform (∞)
TEMPERATURES = pa.schema(
    [
        ("criterion", pa.string()),
        ("temperature", pa.float64()),
        ("domain", pa.string()),
        ("share", pa.float64()),
    ]
)
NORMALISATION = pa.schema([("criterion", pa.string()), ("share_changed", pa.float64())])
_SAMPLE = 2**16  # rows from which the cut is guessed


def grid() -> list[float]:
    """`NUM_TEMPERATURES` values of τ: 0, geometric steps, ∞."""
    return [0.0, *np.geomspace(LOWEST, HIGHEST, NUM_TEMPERATURES - 2).tolist(), math.inf]


def sampled_budget(num_tokens: int, rated: Rated, corpus_tokens: int) -> int:
    """The budget of a selection from the sampled sequences that stands for `num_tokens` of the whole corpus."""
    return round(num_tokens / max(1, corpus_tokens) * int(rated.lengths.sum()))


def temperatures(rated: Rated, budget: int, seed: int) -> pa.Table:
    """Shares of the domains in the tokens of a selection without quotas by domain, for every τ (`TEMPERATURES`).

    The same as `rules.select` on one domain: the highest s + τ g up to the budget, with the normalised rating s and the
    same Gumbel noise g for all τ and criteria. Sequences without a finite rating are left out.

    Args:
        budget: in tokens, fewer than the rated sequences have; else there is nothing to choose.
        seed: of the noise, as `rules.select` takes it.
    """
    domains, names = rated.groups[DOMAIN], pa.array(rated.groups[DOMAIN].names, pa.string())
    parts = [TEMPERATURES.empty_table()]
    for criterion, values in rated.ratings.items():
        rows = np.flatnonzero(np.isfinite(values))
        lengths, codes = rated.lengths[rows], domains.codes[rows]
        if not 0 < budget < lengths.sum():
            continue
        ids, scores = as_ids(rated.ids[rows]), normalise(values[rows])
        noise = gumbel(ids, seed)
        for temperature in grid():
            keys = noise if math.isinf(temperature) else scores + temperature * noise if temperature else scores
            taken = _top(keys, ids, lengths, budget)
            tokens = np.bincount(codes[taken], lengths[taken], len(domains.names))
            columns = [
                pa.array([criterion] * len(names), pa.string()),
                np.full(len(names), temperature),
                names,
                tokens / tokens.sum(),
            ]
            parts.append(pa.table(columns, schema=TEMPERATURES))
    return pa.concat_tables(parts).combine_chunks()


def normalisation(rated: Rated, budget: int) -> pa.Table:
    """The share of the tokens of top-k that would change if ratings were normalised by domain (`NORMALISATION`).

    Both selections have one budget for the whole corpus, without quotas by domain. Null for constant ratings, or where
    the budget leaves no choice.
    """
    rows = [(criterion, _share_changed(values, rated, budget)) for criterion, values in rated.ratings.items()]
    return from_rows(rows, NORMALISATION)


def _share_changed(values: Floats, rated: Rated, budget: int) -> float | None:
    rows = np.flatnonzero(np.isfinite(values))
    lengths, codes, scores = rated.lengths[rows], rated.groups[DOMAIN].codes[rows], values[rows]
    if not 0 < budget < lengths.sum() or is_equal(scores, scores[0]).all():
        return None
    ids = as_ids(rated.ids[rows])
    plain, by_domain = (
        _top(_normalised(scores, Groups(codes, []), how), ids, lengths, budget) for how in (GLOBAL, PER_DOMAIN)
    )
    return 1 - float(lengths[plain & by_domain].sum() / lengths[plain].sum())


def _normalised(scores: Floats, domains: Groups, how: str) -> Floats:
    sums = Sums(how)
    sums.add(scores, domains.codes)
    return sums.standardised(scores, domains.codes)


def _top(keys: Floats, ids: Ids, lengths: Counts, budget: int) -> Mask:
    """Which rows (n,) have the highest keys up to the budget, as `rules.select` takes them from one domain."""
    rows = Keyed(keys, ids, lengths, np.zeros(len(keys), np.int32))
    sample = rows.part(np.arange(0, len(keys), max(1, len(keys) // _SAMPLE)))
    mask: Mask = take_top(lambda: iter([rows]), np.array([budget]), sample, np.array([lengths.sum()]))[0]
    return mask
