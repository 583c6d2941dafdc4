"""Figures about judge, rater and scorer, from the tables of `qurating.analysis.raters`; None where one has no rows."""

from typing import Any

import numpy as np
import pyarrow as pa
from matplotlib.figure import Figure
from matplotlib.ticker import PercentFormatter

from qurating.analysis.rated import ALL
from qurating.analysis.raters import CONFIDENCE, calibration_error
from qurating.reports import rater_figures
from qurating.reports.analyses.ratings import MAX_GROUPS
from qurating.reports.style import ACCENT, COLOURS, GREY, INK, WIDTH, panel_grid, short, styled

MAX_COLOURS = 6  # domains with a colour; the others are grey


@styled
def judge(table: pa.Table) -> Figure | None:
    """How often the two orders of a pair agree, by criterion, with 95 % intervals; table `judge`."""
    rows = [row for row in table.to_pylist() if row["grouping"] == ALL and row["orders_agree"] is not None]
    rows = rows[:MAX_GROUPS]
    if not rows:
        return None
    figure = Figure(figsize=(WIDTH, 0.9 + 0.34 * len(rows)))
    axes = figure.subplots()
    for place, row in enumerate(reversed(rows)):
        axes.plot([row["low"], row["high"]], [place, place], color=ACCENT, linewidth=2.2, solid_capstyle="butt")
        axes.plot(row["orders_agree"], place, "o", color=ACCENT, markersize=6)
    axes.axvline(0.5, color=INK, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(rows)), [f"{short(row['criterion'])} ({row['num_pairs']:,})" for row in reversed(rows)])
    axes.set_ylim(-0.7, len(rows) - 0.3)
    axes.set_xlim(right=1.0)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.tick_params(axis="y", length=0)
    axes.grid(axis="x", color="#e4e4e4")
    axes.set_xlabel("pairs (number) whose two orders agree; 50 % by chance")
    return figure


def rater_accuracy(table: pa.Table) -> Figure | None:
    """The rater's accuracy by the confidence of the judge, as on the rater's card; table `rater_accuracy`."""
    rows = [row for row in table.to_pylist() if row["grouping"] == CONFIDENCE and row["criterion"] is not None]
    found = {
        name: {"by_confidence": {row["group"]: row for row in of_name}} for name, of_name in _by_criterion(rows).items()
    }
    return rater_figures.accuracy_by_margin(found) if found else None


def rater_calibration(table: pa.Table) -> Figure | None:
    """The rater's probabilities and the judge's, as on the rater's card; table `rater_calibration`."""
    found = {}
    for name, bins in _by_criterion(table.to_pylist()).items():
        error, _, number = calibration_error(bins)
        found[name] = {"calibration": {"bins": bins, "ece": error, "num_pairs": number}}
    return rater_figures.calibration(found) if found else None


def _by_criterion(rows: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    """Rows by criterion; with the rater, where there are several."""
    several = len({row["rater"] for row in rows}) > 1
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows:
        name = f"{row['criterion']}, {row['rater']}" if several else row["criterion"]
        found.setdefault(name, []).append(row)
    return found


@styled
def annotated(table: pa.Table) -> Figure | None:
    """Annotated and predicted scores, coloured by domain, a panel per annotation and scorer; table `annotated`.

    Held-out sequences, or all where none is known to be held out.
    """
    parts: dict[tuple[str, str], list[dict[str, Any]]] = {}
    for row in table.to_pylist():
        parts.setdefault((row["annotation"], row["criterion"]), []).append(row)
    if not parts:
        return None
    figure, panels = panel_grid(len(parts), 3.6)
    for panel, ((annotation, criterion), rows) in zip(panels, parts.items(), strict=True):
        held_out = [row for row in rows if row["held_out"]]
        shown = held_out or rows
        domains, counts = np.unique([row["domain"] for row in shown], return_counts=True)
        order = [str(name) for name in domains[np.argsort(-counts, kind="stable")]]
        for number, name in reversed(list(enumerate(order))):
            colour, label = (COLOURS[number], short(name, 24)) if number < MAX_COLOURS else (GREY, "_")
            x, y = zip(*((row["annotated"], row["predicted"]) for row in shown if row["domain"] == name), strict=True)
            panel.scatter(x, y, s=9, alpha=0.7, linewidths=0, color=colour, label=label)
        ends = [min(row["annotated"] for row in shown), max(row["annotated"] for row in shown)]
        panel.plot(ends, ends, color=GREY, linewidth=0.9)
        panel.set_title(f"{short(criterion)}: {len(shown):,} {'held-out ' if held_out else ''}sequences", loc="left")
        panel.set_xlabel(f"annotated ({short(annotation, 30)}), std. deviations")
        panel.set_ylabel("predicted")
        panel.grid(color="#ececec")
        panel.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=7)
    return figure
