"""The report on a judge: a page with its figures and examples."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qurating.judging import preferences
from qurating.judging.pairs import Pairs
from qurating.judging.preferences import Floats
from qurating.judging.requests import Requests
from qurating.reports.page import render

EXCERPT_CHARACTERS = 500


def examples(criteria: Sequence[str], pairs: Pairs, weights: Floats) -> dict[str, list[dict[str, Any]]]:
    """For each criterion the pair on which both orders `agree` most clearly, and the one on which they `flip` most.

    `weights`: (pairs, criteria, 2 orders, 2 labels). A criterion without such a pair, but for those of the criteria
    before it, has none.
    """
    p = preferences.probability_of_b(weights)
    shown_second, shown_first = p[..., 0], 1.0 - p[..., 1]  # P(text 1 ≻ text 0)
    one, other = shown_second - 0.5, shown_first - 0.5
    size = np.minimum(np.abs(one), np.abs(other))  # of the order that says less
    found: dict[str, list[dict[str, Any]]] = {}
    for kind, wanted in (("agree", one * other > 0), ("flip", one * other < 0)):
        found[kind] = []
        for c, name in enumerate(criteria):
            if not wanted[:, c].any():
                continue
            pair = int(np.argmax(np.where(wanted[:, c], size[:, c], -1.0)))
            wanted[pair] = False  # each pair is shown once
            texts = [
                {
                    "number": number,
                    "id": pairs.ids[place],
                    "domain": pairs.domains[place],
                    "excerpt": _cut(pairs.texts[place]),
                }
                for number, place in enumerate((pairs.first[pair], pairs.second[pair]))
            ]
            preferred = {"shown_second": float(shown_second[pair, c]), "shown_first": float(shown_first[pair, c])}
            found[kind].append({"criterion": name, "texts": texts} | preferred)
    return found


def _cut(text: str) -> str:
    return text if len(text) <= EXCERPT_CHARACTERS else f"{text[:EXCERPT_CHARACTERS]} …"


def write(
    output: Path,
    summary: Mapping[str, Any],
    criteria: Sequence[str],
    pairs: Pairs,
    preference: Floats,
    requests: Requests,
    num_pairs: int,
) -> None:
    """Write report.html, and its figures in plots/."""
    from qurating.reports import judge_figures, style

    first, second = pairs.first[:num_pairs], pairs.second[:num_pairs]
    lengths = np.array([len(text) for text in pairs.texts], np.float64)
    drawn = {
        "preferences": judge_figures.preferences(dict(zip(criteria, preference[:num_pairs].T, strict=True))),
        "lengths": judge_figures.lengths(
            dict(zip(criteria, preference[:num_pairs].T, strict=True)), np.log2(lengths[second] / lengths[first])
        ),
    }
    shown: dict[str, list[dict[str, Any]]] = {}
    if requests.pairwise:
        shown = examples(criteria, pairs, requests.weights[:num_pairs])
        p = preferences.probability_of_b(requests.weights[:num_pairs])
        drawn["orders"] = judge_figures.orders(
            {name: (p[:, c, 0], 1.0 - p[:, c, 1]) for c, name in enumerate(criteria)}
        )
    figures = {name: style.save(figure, output / "plots" / f"{name}.png") for name, figure in drawn.items()}
    page = render({"summary": summary, "figures": figures, "examples": shown}, "judge.html.jinja")
    (output / "report.html").write_text(page, encoding="utf-8")
