"""Figures about selections, from the tables of `qurating.analysis`; None where a table has nothing to show."""

import math

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from qurating.reports.analyses.ratings import MAX_GROUPS
from qurating.reports.figures import heat_map
from qurating.reports.style import ACCENT, COLOURS, GREY, INK, WIDTH, panel_grid, short, styled

MAX_LINES = 7  # domains with a colour; the others are grey


def retention(table: pa.Table, grouping: str) -> Figure | None:
    """The share of each of the largest groups that each subset keeps, in percent; table `retention`."""
    rows = table.filter(pc.equal(table["grouping"], grouping)).to_pylist()
    if not rows:
        return None
    subsets = list(dict.fromkeys(row["subset"] for row in rows))
    sizes = {row["group"]: row["tokens"] for row in rows}
    names = sorted(sizes, key=lambda name: (-sizes[name], name))[:MAX_GROUPS]
    values = np.full((len(names), len(subsets)), np.nan)
    for row in rows:
        if row["group"] in names and row["share_kept"] is not None:
            values[names.index(row["group"]), subsets.index(row["subset"])] = 100 * row["share_kept"]
    return heat_map(values, names, subsets, unit="% of the tokens kept", form="{:.1f}")


@styled
def overlap(table: pa.Table) -> Figure | None:
    """The overlap of every two subsets beside that by chance; table `overlap`."""
    rows = [row for row in table.to_pylist() if row["share"] is not None][:MAX_GROUPS]
    if not rows:
        return None
    figure = Figure(figsize=(WIDTH, 1.1 + 0.36 * len(rows)))
    axes = figure.subplots()
    places = np.arange(len(rows))[::-1]
    axes.plot([row["share"] for row in rows], places, "o", color=ACCENT, label="overlap")
    axes.plot([row["by_chance"] for row in rows], places, "|", color=INK, markersize=11, label="by chance")
    names = [f"{short(row['first'], 30)}\n{short(row['second'], 30)}" for row in rows]
    axes.set_yticks(places, names, fontsize=7)
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(left=0)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("shared tokens, of those that either has")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    axes.grid(axis="x", color="#ececec")
    return figure


@styled
def temperatures(table: pa.Table) -> Figure | None:
    """Shares of the domains from top-k to uniform, a panel per criterion; table `temperatures`."""
    if not len(table):
        return None
    criteria, taus = (list(dict.fromkeys(table[name].to_pylist())) for name in ("criterion", "temperature"))
    uniform = table.filter(pc.equal(table["temperature"], math.inf))
    shares: dict[str, float] = {}
    for name, share in zip(uniform["domain"].to_pylist(), uniform["share"].to_pylist(), strict=True):
        shares[name] = max(share, shares.get(name, 0.0))
    names = sorted(shares, key=lambda name: (-shares[name], name))[:MAX_GROUPS]
    shown = table.filter(pc.is_in(table["domain"], pa.array(names, pa.string())))
    figure, panels = panel_grid(len(criteria), 2.3, sharex=True)
    places = np.arange(len(taus))
    ticks = [0, *range(5, len(taus) - 1, 6), len(taus) - 1]
    for panel, criterion in zip(panels, criteria, strict=True):
        own = shown.filter(pc.equal(shown["criterion"], criterion))
        for number, name in reversed(list(enumerate(names))):
            line = own.filter(pc.equal(own["domain"], name))["share"].to_numpy()
            colour = COLOURS[number % len(COLOURS)] if number < MAX_LINES else "#cccccc"
            panel.plot(places, line, color=colour, linewidth=1.4 if number < MAX_LINES else 0.6, label=short(name, 24))
        panel.set_title(short(criterion), loc="left")
        labels = ["top-k" if not taus[t] else "uniform" if math.isinf(taus[t]) else f"{taus[t]:.2g}" for t in ticks]
        panel.set_xticks(ticks, labels, fontsize=7)
        panel.yaxis.set_major_formatter(PercentFormatter(1.0))
        panel.set_ylim(bottom=0)
        panel.grid(axis="y", color="#ececec")
    for panel in panels[-2:]:
        panel.set_xlabel("temperature τ")
    handles, labels = panels[0].get_legend_handles_labels()
    kept = list(zip(handles, labels, strict=True))[::-1][:MAX_LINES]
    figure.legend(*zip(*kept, strict=True), loc="outside lower center", ncols=3, fontsize=7)
    return figure


@styled
def normalisation(table: pa.Table) -> Figure | None:
    """The share of top-k's tokens that normalising by domain would change; table `normalisation`."""
    rows = [row for row in table.to_pylist() if row["share_changed"] is not None]
    if not rows:
        return None
    return _bars([row["criterion"] for row in rows], {"": [row["share_changed"] for row in rows]},
                 "tokens of top-k that change if ratings are normalised by domain")  # fmt: skip


@styled
def duplicates(table: pa.Table) -> Figure | None:
    """Near-duplicates and contamination of checked subsets; table `duplicates`."""
    if not len(table):
        return None
    shares = {
        "near-duplicates": [share or 0.0 for share in table["near_duplicate_share"].to_pylist()],
        "contaminated": [share or 0.0 for share in table["contaminated_share"].to_pylist()],
    }
    return _bars(table["subset"].to_pylist(), shares, "of the tokens of the subset")


def _bars(names: list[str], series: dict[str, list[float]], unit: str) -> Figure:
    names, series = names[:MAX_GROUPS], {label: values[:MAX_GROUPS] for label, values in series.items()}
    figure = Figure(figsize=(WIDTH, 1.0 + 0.34 * len(names)))
    axes = figure.subplots()
    places, height = np.arange(len(names))[::-1], 0.7 / len(series)
    for number, (label, values) in enumerate(series.items()):
        middle = places + ((len(series) - 1) / 2 - number) * height
        axes.barh(middle, values, height, color=(ACCENT, GREY)[number % 2], label=label or "_")
        for place, value in zip(middle, values, strict=True):
            axes.text(value, place, f" {100 * value:.1f} %", va="center", fontsize=7)
    axes.set_yticks(places, [short(name, 44) for name in names])
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel(unit)
    if len(series) > 1:
        axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure
