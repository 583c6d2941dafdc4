"""The numbers that the judge stage writes to summary.json: measures of a judge, and a comparison of two."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from qurating.artifacts.files import read_json
from qurating.judging import preferences
from qurating.judging.measures import (
    addresses_the_judge,
    flips,
    kendall_tau,
    length_bias,
    same_side,
    transitivity,
    win_rates,
)
from qurating.judging.pairs import Pairs, Ranking
from qurating.judging.preferences import Floats
from qurating.judging.requests import Requests
from qurating.runtime.errors import StageError


def measures(
    criteria: Sequence[str],
    pairs: Pairs,
    preference: Floats,
    requests: Requests,
    ranking: Ranking | None,
    num_pairs: int,
) -> dict[str, dict[str, Any]]:
    """The results of `measures` and `preferences.agreement` by criterion.

    `preference`: (pairs, criteria), P(text 1 ≻ text 0); the pairs from `num_pairs` on belong to the ranking.
    """
    lengths = np.array([len(text) for text in pairs.texts], np.int64)
    instructs = np.array([addresses_the_judge(text) for text in pairs.texts])
    first, second = pairs.first[:num_pairs], pairs.second[:num_pairs]
    weights = requests.weights if requests.pairwise else None
    found: dict[str, dict[str, Any]] = {}
    for c, name in enumerate(criteria):
        p = preference[:num_pairs, c]
        if weights is not None:
            of_orders: dict[str, Any] = preferences.agreement(weights[:num_pairs, c])
            of_orders |= flips(weights[:num_pairs, c], instructs[first] | instructs[second])
        else:
            usable = p[~np.isnan(p)]
            of_orders = {"num_pairs": len(usable), "ties": float(np.mean(usable == 0.5)) if len(usable) else None}
            of_orders["confident"] = (
                float(np.mean(np.abs(2 * usable - 1) >= preferences.CONFIDENT)) if len(usable) else None
            )
        found[name] = of_orders | length_bias(p, lengths, first, second)
        found[name] |= transitivity(preference[:, c], pairs.first, pairs.second)
        found[name] |= {"num_ranked": 0, "kendall_tau": None}
        if ranking:
            scores = _scores(pairs, preference[:, c], requests, c, num_pairs)[-len(ranking.texts) :]
            rated = ~np.isnan(scores)
            tau = kendall_tau(scores[rated], -np.array(ranking.ranks[name])[rated])
            found[name] |= {"num_ranked": int(rated.sum()), "kendall_tau": tau}
    return found


def _scores(pairs: Pairs, preference: Floats, requests: Requests, criterion: int, num_pairs: int) -> Floats:
    """One score per text to rank by: its mean grade, or its mean win rate over the pairs of the ranking."""
    if requests.pairwise:
        ranked = slice(num_pairs, None)
        return win_rates(preference[ranked], pairs.first[ranked], pairs.second[ranked], len(pairs.texts))
    grades = requests.grades[:, criterion].astype(np.float64)
    count = (~np.isnan(grades)).sum(axis=1)
    return np.divide(np.nansum(grades, axis=1), count, out=np.full(len(grades), np.nan), where=count > 0)


def compare(criteria: Sequence[str], pairs: Pairs, preference: Floats, other: Path, num_pairs: int) -> dict[str, Any]:
    """Compare these judgments with another artifact over their common pairs, in either order of the texts.

    Raises StageError if no pair or no criterion is common.
    """
    table = pq.read_table(other / "judgments.parquet")
    common = [name for name in criteria if f"{name}_average" in table.column_names]
    rows = {tuple(sorted(indices)): (k, indices) for k, indices in enumerate(table["indices"].to_pylist())}
    here = [
        (k, rows[pair], (pairs.ids[i], pairs.ids[j]))
        for k, (i, j) in enumerate(
            zip(pairs.first[:num_pairs].tolist(), pairs.second[:num_pairs].tolist(), strict=True)
        )
        if (pair := tuple(sorted((pairs.ids[i], pairs.ids[j])))) in rows
    ]
    if not here or not common:
        raise StageError(
            f"judge.compare_with: {other} has no pair and criterion in common with these judgments. The same pairs are "
            "drawn with the same corpus, seed, judge.min_words and judge.triple_fraction"
        )
    other_summary = read_json(other / "summary.json")
    found: dict[str, Any] = {
        "with": f"{other.parent.name}/{other.name}",
        "mode": other_summary.get("mode", "pairwise"),
        "method": other_summary.get("method"),
        "criteria": {},
    }
    mine = np.array([k for k, _, _ in here])
    for name in common:
        averages = table[f"{name}_average"].to_pylist()
        theirs = np.array([averages[k][0][1] if tuple(ids) == own else averages[k][1][0] for _, (k, ids), own in here])
        theirs = np.where(theirs < 0, np.nan, theirs)
        found["criteria"][name] = same_side(preference[mine, list(criteria).index(name)], theirs)
        found["criteria"][name]["kendall_tau"] = other_summary["criteria"].get(name, {}).get("kendall_tau")
    return found
