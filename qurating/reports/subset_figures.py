"""Figures about subsets, from plain numbers."""

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from qurating.reports.figures import heat_map
from qurating.reports.style import ACCENT, GREY, INK, WIDTH, panel_grid, short, styled

MAX_DOMAINS = 16


@styled
def domains(tokens: Mapping[str, Mapping[str, int]]) -> Figure:
    """Share of each domain in the tokens of the corpus and of the subset, in percent."""
    names = list(tokens)
    figure = Figure(figsize=(WIDTH, 0.9 + 0.36 * len(names)))
    axes = figure.subplots()
    places = np.arange(len(names))[::-1]
    for key, offset, colour, label in (
        ("corpus_tokens", 0.19, GREY, "in the corpus"),
        ("tokens", -0.19, ACCENT, "in the subset"),
    ):
        values = np.array([tokens[name][key] for name in names], dtype=np.float64)
        values *= 100 / max(1.0, values.sum())
        axes.barh(places + offset, values, 0.36, color=colour, label=label)
        for place, value in zip(places, values, strict=True):
            axes.text(value, place + offset, f" {value:.1f}", va="center", fontsize=7)
    axes.set_yticks(places, [short(name) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.set_xlabel("% of tokens")
    axes.legend(loc="lower right")
    return figure


@styled
def deciles(taken: Mapping[str, Sequence[float]]) -> Figure:
    """Share of tokens selected from each decile of the corpus by score, in percent, one panel per criterion."""
    figure, panels = panel_grid(len(taken), 2.1, sharex=True, sharey=True)
    for panel, (name, shares) in zip(panels, taken.items(), strict=True):
        places = np.arange(1, len(shares) + 1)
        panel.bar(places, 100 * np.asarray(shares), color=ACCENT)
        for place, share in zip(places.tolist(), shares, strict=True):
            panel.text(place, 100 * share, f"{100 * share:.0f}", ha="center", va="bottom", fontsize=7, color=INK)
        panel.set_title(short(name), loc="left")
        panel.set_xticks(places)
        panel.set_xlabel("decile of the corpus by score, lowest first")
        panel.set_ylabel("% selected")
    return figure


def overlaps(names: Sequence[str], values: npt.NDArray[np.float64]) -> Figure:
    """Overlap of every two subsets, shares (S, S), in percent; the diagonal stays empty."""
    shown = 100 * np.array(values)
    np.fill_diagonal(shown, np.nan)
    return heat_map(shown, names, names, unit="overlap, % of tokens", form="{:.0f}", limit=100.0)
