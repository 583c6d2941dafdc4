"""The numbers that the judge stage writes to summary.json: measures of a judge, and a comparison of two."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq

from qurating.artifacts.by_domain import MAX_DOMAINS, OTHERS
from qurating.artifacts.files import read_json
from qurating.judging import preferences
from qurating.judging.measures import (
    addresses_the_judge,
    kendall_tau,
    length_bias,
    same_side,
    transitivity,
    win_rates,
    with_instructions,
)
from qurating.judging.pairs import Pairs, Ranking
from qurating.judging.preferences import Floats
from qurating.judging.requests import Requests
from qurating.runtime.errors import StageError

PAPER_PAIRS = 250_000  # judged in QuRating (§3)


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
            of_orders |= with_instructions(weights[:num_pairs, c], instructs[first] | instructs[second])
            of_orders |= _label_shares(requests.label_shares[:num_pairs, c])
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


def _label_shares(shares: Floats) -> dict[str, float | None]:
    """Median and lowest decile of how much of an answer is a label, over pairs and orders."""
    known = shares[~np.isnan(shares)]
    low, median = np.quantile(known, [0.1, 0.5]).tolist() if len(known) else (None, None)
    return {"label_share_median": median, "label_share_decile": low}


def by_domain(
    criteria: Sequence[str],
    pairs: Pairs,
    preference: Floats,
    requests: Requests,
    counts: Mapping[str, Mapping[str, int]],
    num_pairs: int,
) -> list[dict[str, Any]]:
    """Failures and agreement over the pairs with a text of a domain; those after the first MAX_DOMAINS are one row.

    `counts`: `judged` and `too_short` texts by domain, most first.
    """
    names = list(counts)
    rows = [[name] for name in names[:MAX_DOMAINS]] + ([names[MAX_DOMAINS:]] if len(names) > MAX_DOMAINS else [])
    place = {name: number for number, of_row in enumerate(rows) for name in of_row}
    of_text = np.array([place.get(domain, -1) for domain in pairs.domains], np.int64)
    first, second = of_text[pairs.first[:num_pairs]], of_text[pairs.second[:num_pairs]]
    weights = requests.weights[:num_pairs] if requests.pairwise else None
    found = []
    for number, of_row in enumerate(rows):
        mine = (first == number) | (second == number)
        row: dict[str, Any] = {
            "domain": of_row[0] if number < MAX_DOMAINS else OTHERS,
            "judged": sum(counts[name]["judged"] for name in of_row),
            "too_short": sum(counts[name]["too_short"] for name in of_row),
            "num_pairs": int(mine.sum()),
            "failed": float(np.isnan(preference[:num_pairs][mine]).mean()) if mine.any() and criteria else None,
        }
        if weights is not None:
            agreed = {name: preferences.agreement(weights[mine, c]) for c, name in enumerate(criteria)}
            keys = ("num_pairs", "orders_agree", "orders_agree_interval")
            row["criteria"] = {name: {key: each[key] for key in keys} for name, each in agreed.items()}
        found.append(row)
    return found


def extrapolated(actual: Mapping[str, Any], num_calls: int, num_pairs: int) -> dict[str, Any]:
    """What a pair takes by all criteria, and as many pairs as the paper's, at the rate of the calls of this run.

    `actual`: calls, tokens and dollars; `num_calls`: those that `num_pairs` pairs need.
    """

    def share(pairs: int) -> dict[str, Any]:
        calls = num_calls / num_pairs * pairs
        rates = {key: actual[key] for key in ("prompt_tokens", "completion_tokens", "usd")}
        made = actual["num_calls"]
        costs = {key: None if value is None or not made else value / made * calls for key, value in rates.items()}
        return {"num_pairs": pairs, "num_calls": round(calls), **costs}

    return {"per_pair": share(1), "paper": share(PAPER_PAIRS)}


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
            "drawn with the same corpus, seed, judge.min_tokens and judge.triple_fraction"
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
