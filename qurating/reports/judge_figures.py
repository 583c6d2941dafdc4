"""Figures of the judge's report, from plain numbers."""

from collections.abc import Mapping

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from qurating.reports.style import ACCENT, GREY, INK, panel_grid, short, styled

Floats = npt.NDArray[np.float64]


@styled
def orders(answers: Mapping[str, tuple[Floats, Floats]]) -> Figure:
    """P(text 1 ≻ text 0) as answered in the two orders, one panel per criterion; pairs with a NaN are left out."""
    figure, panels = panel_grid(len(answers), 2.9, sharex=True, sharey=True)
    for panel, (name, (first, second)) in zip(panels, answers.items(), strict=True):
        both = ~np.isnan(first) & ~np.isnan(second)
        x, y = first[both], second[both]
        if len(x) > 1500:
            panel.hexbin(x, y, gridsize=32, extent=(0, 1, 0, 1), bins="log", mincnt=1, cmap="Blues", linewidths=0.1)
        else:
            panel.scatter(x, y, s=8, color=ACCENT, alpha=0.4, linewidths=0)
        panel.plot([0, 1], [0, 1], color=GREY, linewidth=0.8)
        panel.axhline(0.5, color=GREY, linewidth=0.6, linestyle=":")
        panel.axvline(0.5, color=GREY, linewidth=0.6, linestyle=":")
        panel.set_title(short(name), loc="left")
        panel.set_xlabel("preference for text 1, shown second")
        panel.set_ylabel("preference for text 1, shown first")
    return figure


@styled
def preferences(preference: Mapping[str, Floats]) -> Figure:
    """Confidence of the judge: histograms of |2p − 1|, one panel per criterion; raters train right of the line."""
    figure, panels = panel_grid(len(preference), 1.9, sharex=True)
    for panel, (name, p) in zip(panels, preference.items(), strict=True):
        confidence = np.abs(2 * p[~np.isnan(p)] - 1)
        weights = np.full(len(confidence), 100.0 / max(1, len(confidence)))
        panel.hist(confidence, list(np.linspace(0, 1, 21)), weights=weights, color=ACCENT, alpha=0.8)
        panel.axvline(0.5, color=INK, linewidth=0.8, linestyle="--")
        panel.set_title(short(name), loc="left")
        panel.set_xlabel("confidence |2p − 1|")
        panel.set_ylabel("% of pairs")
    return figure


@styled
def lengths(preference: Mapping[str, Floats], log2_ratio: Floats) -> Figure:
    """Mean preference for text 1 by its relative length, one panel per criterion; bars are standard errors."""
    figure, panels = panel_grid(len(preference), 2.1, sharex=True, sharey=True)
    edges = np.array([-np.inf, -2, -1, -0.5, -0.1, 0.1, 0.5, 1, 2, np.inf])
    for panel, (name, p) in zip(panels, preference.items(), strict=True):
        usable = ~np.isnan(p)
        bins = np.digitize(log2_ratio[usable], edges) - 1
        for place in range(len(edges) - 1):
            values = p[usable][bins == place]
            if len(values) > 1:
                x = float(log2_ratio[usable][bins == place].mean())
                panel.errorbar(x, values.mean(), values.std(ddof=1) / np.sqrt(len(values)), fmt="o", color=ACCENT, ms=4)
        panel.axhline(0.5, color=GREY, linewidth=0.8)
        panel.set_title(short(name), loc="left")
        panel.set_xlabel("log₂ of the length of text 1 over text 0")
        panel.set_ylabel("preference for text 1")
        panel.set_ylim(0, 1)
        panel.grid(axis="y", color="#ececec")
    return figure
