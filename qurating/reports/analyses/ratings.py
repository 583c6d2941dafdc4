"""Figures about ratings, from the tables of `qurating.analysis`; None where a table has nothing to show."""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from qurating.reports.figures import heat_map
from qurating.reports.style import ACCENT, GREY, INK, WARM, WIDTH, panel_grid, short, styled

MAX_GROUPS = 30  # drawn: those with most tokens


@styled
def by_group(table: pa.Table, grouping: str) -> Figure | None:
    """The 5th to 95th percentiles of the ratings in the largest groups, a panel per criterion; table `by_group`."""
    rows = table.filter(pc.equal(table["grouping"], grouping))
    if not len(rows):
        return None
    criteria = list(dict.fromkeys(rows["criterion"].to_pylist()))
    sizes: dict[str, int] = {}
    for group, tokens in zip(rows["group"].to_pylist(), rows["tokens"].to_pylist(), strict=True):
        sizes[group] = max(tokens, sizes.get(group, 0))
    names = sorted(sizes, key=lambda name: (-sizes[name], name))[:MAX_GROUPS]
    figure, panels = panel_grid(len(criteria), 0.9 + 0.19 * len(names), sharey=True)
    for panel, criterion in zip(panels, criteria, strict=True):
        own = {row["group"]: row for row in rows.filter(pc.equal(rows["criterion"], criterion)).to_pylist()}
        for place, name in enumerate(names[::-1]):
            if name in own:
                row = own[name]
                panel.plot([row["p5"], row["p95"]], [place, place], color=GREY, linewidth=1)
                panel.plot([row["p25"], row["p75"]], [place, place], color=ACCENT, linewidth=3, solid_capstyle="butt")
                panel.plot(row["p50"], place, "o", color=INK, markersize=3)
        panel.set_yticks(range(len(names)), [short(name, 28) for name in names[::-1]], fontsize=7)
        panel.set_title(short(criterion), loc="left")
        panel.tick_params(axis="y", length=0)
        panel.grid(axis="x", color="#ececec")
    for panel in panels[-2:]:
        panel.set_xlabel("rating: median, middle half, 5th to 95th percentile")
    return figure


def variance(table: pa.Table) -> Figure | None:
    """η² of every criterion by what explains it, in percent; table `variance`."""
    if not len(table):
        return None
    criteria, by = (list(dict.fromkeys(table[name].to_pylist())) for name in ("criterion", "explained_by"))
    values = np.full((len(criteria), len(by)), np.nan)
    for row in table.to_pylist():
        if row["eta_squared"] is not None:
            values[criteria.index(row["criterion"]), by.index(row["explained_by"])] = 100 * row["eta_squared"]
    return heat_map(values, criteria, by, unit="% of the variance explained", form="{:.0f}", limit=100.0)


@styled
def preferences(table: pa.Table) -> Figure | None:
    """AUC of the judge's preferences within domains and across, with 95 % intervals; table `preferences`."""
    rows = [row for row in table.to_pylist() if row["auc"] is not None]
    if not rows:
        return None
    criteria = list(dict.fromkeys(row["criterion"] for row in rows))
    figure = Figure(figsize=(WIDTH, 1.1 + 0.42 * len(criteria)))
    axes = figure.subplots()
    for where, offset, colour in (("within", 0.14, ACCENT), ("across", -0.14, WARM)):
        label = f"{where} domains"
        for row in rows:
            if row["where"] == where:
                place = len(criteria) - 1 - criteria.index(row["criterion"]) + offset
                axes.plot([row["low"], row["high"]], [place, place], color=colour, linewidth=2)
                axes.plot(row["auc"], place, "o", color=colour, markersize=5, label=label)
                axes.annotate(f"{row['num_pairs']:,}", (1.005, place), xycoords=("axes fraction", "data"), fontsize=7)
                label = "_"
    axes.axvline(0.5, color=INK, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(criteria)), [short(name) for name in criteria[::-1]])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(right=1.0)
    axes.grid(axis="x", color="#e4e4e4")
    axes.set_xlabel("AUC of the judge's preferences by the difference of ratings (right: pairs; 0.5: by chance)")
    axes.legend(loc="lower center", bbox_to_anchor=(0.5, 1.0), ncols=2)
    return figure


@styled
def first_window(table: pa.Table) -> Figure | None:
    """How far the first window's rating is from the document's mean; table `first_window`."""
    rows = [row for row in table.to_pylist() if row["mean_absolute_difference_sd"] is not None]
    if not rows:
        return None
    figure = Figure(figsize=(WIDTH, 0.9 + 0.3 * len(rows)))
    axes = figure.subplots()
    values = [row["mean_absolute_difference_sd"] for row in rows]
    places = np.arange(len(rows))[::-1]
    axes.barh(places, values, 0.6, color=ACCENT)
    for place, row in zip(places, rows, strict=True):
        r = "–" if row["pearson"] is None else f"{row['pearson']:.2f}"
        axes.text(row["mean_absolute_difference_sd"], place, f" r {r}, {row['num_documents']:,} documents", va="center")
    axes.set_yticks(places, [short(row["criterion"]) for row in rows])
    axes.tick_params(axis="y", length=0)
    axes.set_xlim(right=1.45 * max(values) or 1.0)
    axes.set_xlabel("mean distance of the first window's rating from the document's mean, in standard deviations")
    return figure


def correlations(table: pa.Table) -> Figure | None:
    """Spearman's ρ of every two columns; table `correlations`."""
    rows = table.to_pylist()
    names = list(dict.fromkeys([*(row["first"] for row in rows), *(row["second"] for row in rows)]))
    if not names:
        return None
    values = np.full((len(names), len(names)), np.nan)
    for row in rows:
        if row["spearman"] is not None:
            i, j = names.index(row["first"]), names.index(row["second"])
            values[i, j] = values[j, i] = row["spearman"]
    return heat_map(values, names, names, unit="Spearman's ρ", form="{:+.2f}", limit=1.0)


@styled
def clusters(table: pa.Table) -> Figure | None:
    """Sizes of the topic clusters; table `clusters`."""
    if not len(table):
        return None
    rows = table.to_pylist()[:MAX_GROUPS]
    figure = Figure(figsize=(WIDTH, 0.9 + 0.22 * len(rows)))
    axes = figure.subplots()
    places = np.arange(len(rows))[::-1]
    total = sum(table["num"].to_pylist())
    axes.barh(places, [row["num"] / total for row in rows], 0.7, color=ACCENT)
    axes.set_yticks(places, [short(row["top_terms"], 70) or row["cluster"] for row in rows], fontsize=7)
    axes.tick_params(axis="y", length=0)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.set_xlabel("% of the sequences")
    return figure
