"""What the judge stage reports: numbers for summary.json, figures, and a page to look at."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from qurating.artifacts.files import read_json
from qurating.judging import preferences
from qurating.judging.measures import (
    flips,
    kendall_tau,
    length_bias,
    same_side,
    speaks_to_the_judge,
    transitivity,
    win_rates,
)
from qurating.judging.pairs import Pairs, Ranking
from qurating.judging.preferences import Floats
from qurating.judging.requests import Questions
from qurating.runtime.errors import StageError


def measures(
    criteria: Sequence[str],
    pairs: Pairs,
    preference: Floats,
    questions: Questions,
    ranking: Ranking | None,
    num_pairs: int,
) -> dict[str, dict[str, Any]]:
    """What `judge_measures` and `preferences.agreement` find, by criterion.

    `preference`: (pairs, criteria), P(text 1 ≻ text 0); the pairs from `num_pairs` on are those of the ranking.
    """
    lengths = np.array([len(text) for text in pairs.texts], np.int64)
    told = np.array([speaks_to_the_judge(text) for text in pairs.texts])
    first, second = pairs.first[:num_pairs], pairs.second[:num_pairs]
    weights = questions.weights if questions.pairwise else None
    found: dict[str, dict[str, Any]] = {}
    for c, name in enumerate(criteria):
        p = preference[:num_pairs, c]
        if weights is not None:
            of_orders: dict[str, Any] = preferences.agreement(weights[:num_pairs, c])
            of_orders |= flips(weights[:num_pairs, c], told[first] | told[second])
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
            scores = _scores(pairs, preference[:, c], questions, c, num_pairs)[-len(ranking.texts) :]
            rated = ~np.isnan(scores)
            tau = kendall_tau(scores[rated], -np.array(ranking.places[name])[rated])
            found[name] |= {"num_ranked": int(rated.sum()), "kendall_tau": tau}
    return found


def _scores(pairs: Pairs, preference: Floats, questions: Questions, criterion: int, num_pairs: int) -> Floats:
    """A number a text to rank the texts of a ranking by: its mean grade, or how often it wins against the others."""
    if questions.pairwise:
        ranked = slice(num_pairs, None)
        return win_rates(preference[ranked], pairs.first[ranked], pairs.second[ranked], len(pairs.texts))
    grades = questions.grades[:, criterion].astype(np.float64)
    count = (~np.isnan(grades)).sum(axis=1)
    return np.divide(np.nansum(grades, axis=1), count, out=np.full(len(grades), np.nan), where=count > 0)


def compare(criteria: Sequence[str], pairs: Pairs, preference: Floats, other: Path, num_pairs: int) -> dict[str, Any]:
    """These judgments beside another artifact's, over the pairs that both have, in either order of their texts.

    Raises StageError if there is no such pair, or no criterion in common.
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
            f"judge.compare_with: {other} has no pair and criterion in common with these judgments. With the same "
            "corpus and seed, and the same judge.num_pairs, min_words and triple_fraction, the same pairs are drawn"
        )
    said = read_json(other / "summary.json")
    found: dict[str, Any] = {
        "with": f"{other.parent.name}/{other.name}",
        "mode": said.get("mode", "pairwise"),
        "method": said.get("method"),
        "criteria": {},
    }
    mine = np.array([k for k, _, _ in here])
    for name in common:
        averages = table[f"{name}_average"].to_pylist()
        theirs = np.array([averages[k][0][1] if tuple(ids) == own else averages[k][1][0] for _, (k, ids), own in here])
        theirs = np.where(theirs < 0, np.nan, theirs)
        found["criteria"][name] = same_side(preference[mine, list(criteria).index(name)], theirs)
        found["criteria"][name]["kendall_tau"] = said["criteria"].get(name, {}).get("kendall_tau")
    return found
