"""Figures of the rater card, from the numbers of `metrics.rater.report`."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from qurating.metrics.shares import wilson
from qurating.reports.style import ACCENT, COLOURS, GREY, INK, WIDTH, panel_grid, short, signed, styled

MAX_DOMAINS = 20


@styled
def accuracy_by_margin(by_criterion: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Accuracy by the confidence of the judge |2p − 1|, one line per criterion, with 95 % intervals."""
    figure = Figure(figsize=(WIDTH, 3.4))
    axes = figure.subplots()
    groups: list[str] = []
    for number, (name, found) in enumerate(by_criterion.items()):
        groups = list(found["by_confidence"])
        colour = COLOURS[number % len(COLOURS)]
        shift = 0.09 * (number - (len(by_criterion) - 1) / 2)
        drawn = [(place, part) for place, part in enumerate(found["by_confidence"].values()) if part["num_pairs"]]
        x = [place + shift for place, _ in drawn]
        for place, (_, part) in zip(x, drawn, strict=True):
            axes.plot([place] * 2, wilson(part["accuracy"], part["num_pairs"]), color=colour, linewidth=1.1, alpha=0.7)
        axes.plot(
            x, [p["accuracy"] for _, p in drawn], "o-", color=colour, linewidth=1.5, markersize=4, label=short(name)
        )
    axes.axhline(0.5, color=INK, linewidth=0.8, linestyle=":")
    axes.annotate("by chance", (1, 0.5), (-2, 2), ("axes fraction", "data"), "offset points", ha="right", fontsize=7.5)
    axes.set_xticks(range(len(groups)), [group.replace("-", " to ") for group in groups])
    axes.set_xlabel("confidence of the judge, |2p − 1|")
    axes.set_ylabel("accuracy on held-out pairs")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_ylim(top=1.02)
    axes.grid(axis="y", color="#ececec")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    return figure


@styled
def accuracy_by_domain(by_domain: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Accuracy and its 95 % interval, one line per domain, those with most judgments first."""
    judged = [name for name, part in by_domain.items() if part["num_pairs"]]
    names = sorted(judged, key=lambda name: (-by_domain[name]["num_pairs"], name))[:MAX_DOMAINS]
    figure = Figure(figsize=(WIDTH, 1.0 + 0.27 * max(1, len(names))))
    axes = figure.subplots()
    places = np.arange(len(names))[::-1]
    for place, name in zip(places, names, strict=True):
        share, number = by_domain[name]["accuracy"], by_domain[name]["num_pairs"]
        axes.plot(wilson(share, number), [place, place], color=ACCENT, linewidth=2.2, solid_capstyle="butt")
        axes.plot(share, place, "o", color=ACCENT, markersize=6)
    axes.axvline(0.5, color=INK, linewidth=0.8, linestyle=":")
    axes.set_yticks(places, [f"{short(name, 24)} ({by_domain[name]['num_pairs']:,})" for name in names])
    axes.set_ylim(-0.7, max(1, len(names)) - 0.3)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlim(right=1.02)
    axes.grid(axis="x", color="#e4e4e4")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("accuracy on confident held-out pairs within one domain (number of judgments)")
    return figure


@styled
def calibration(by_criterion: Mapping[str, Mapping[str, Any]]) -> Figure:
    """Reliability: probability of the text that the rater prefers, by rater (x) and mean of the judge (y), in bins."""
    figure, panels = panel_grid(len(by_criterion), 2.9, sharex=True, sharey=True)
    for panel, (name, found) in zip(panels, by_criterion.items(), strict=True):
        measured = found["calibration"]
        panel.plot([0.5, 1], [0.5, 1], color=GREY, linewidth=0.9)
        for one in measured["bins"]:
            panel.plot([one["predicted"]] * 2, [one["predicted"], one["judged"]], color="#9cc9e3", linewidth=1.4)
        sizes = np.array([one["num_pairs"] for one in measured["bins"]], dtype=np.float64)
        x, y = ([one[key] for one in measured["bins"]] for key in ("predicted", "judged"))
        panel.scatter(x, y, s=12 + 110 * sizes / max(1.0, sizes.max(initial=0)), color=ACCENT, zorder=3, linewidths=0)
        error = "–" if measured["ece"] is None else f"{measured['ece']:.3f}"
        panel.set_title(f"{short(name)}: ECE {error} ({measured['num_pairs']:,} pairs)", loc="left")
        panel.set_xlabel("rater: probability of its preferred text")
        panel.set_ylabel("judge: mean probability of that text")
        panel.set_xlim(0.49, 1.01)
        panel.grid(color="#ececec")
    return figure


@styled
def rating_by_length(
    ratings: npt.NDArray[np.float64],
    lengths: npt.NDArray[np.int64],
    criteria: Sequence[str],
    correlations: Sequence[float | None],
) -> Figure:
    """Ratings (texts, criteria) in standard deviations over lengths (texts,) in tokens, one panel per criterion."""
    figure, panels = panel_grid(len(criteria), 2.3, sharex=True, sharey=True)
    for c, (panel, name) in enumerate(zip(panels, criteria, strict=True)):
        values = (ratings[:, c] - ratings[:, c].mean()) / max(float(ratings[:, c].std()), 1e-12)
        if len(values) > 2000:
            panel.hexbin(lengths, values, gridsize=50, bins="log", mincnt=1, cmap="Blues", linewidths=0.1)
        else:
            alpha = min(1.0, 0.35 + 40 / len(values))
            panel.scatter(lengths, values, s=9, color=ACCENT, alpha=alpha, linewidths=0)
        rho = correlations[c]
        panel.set_title(f"{short(name)}: ρ {'–' if rho is None else signed('{:+.2f}', rho)}", loc="left")
        panel.set_xlabel("length of the text, tokens")
        panel.set_ylabel("rating, std. deviations")
        panel.grid(color="#ececec")
    return figure
