"""The report on a judge: a page and its figures."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qurating.judging import preferences
from qurating.judging.pairs import Pairs
from qurating.judging.preferences import Floats
from qurating.judging.requests import Requests
from qurating.reports.page import render


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
    if requests.pairwise:
        p = preferences.probability_of_b(requests.weights[:num_pairs])
        drawn["orders"] = judge_figures.orders(
            {name: (p[:, c, 0], 1.0 - p[:, c, 1]) for c, name in enumerate(criteria)}
        )
    figures = {name: style.save(figure, output / "plots" / f"{name}.png") for name, figure in drawn.items()}
    page = render({"summary": summary, "figures": figures}, "judge.html.jinja")
    (output / "report.html").write_text(page, encoding="utf-8")
