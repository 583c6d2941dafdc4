"""Figures of the comparison report, from plain numbers. Colours are Okabe and Ito's, safe for colour-blind readers."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib as mpl
import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from qurating.reports.numbers import short_count
from qurating.reports.style import ACCENT, COLOURS, GREY, HATCHES, INK, WARM, WIDTH, panel_grid, short, signed, styled

_MAX_LEVEL_LABELS = 8  # of the columns of a heat map; more of them would overlap


def _folded(name: str) -> str:
    return "\n".join(textwrap.wrap(short(name).replace("_", " "), 13, break_long_words=True)[:3])


@styled
def changes(names: Sequence[str], middle: Sequence[float], intervals: Sequence[tuple[float, float]]) -> Figure:
    """Change of perplexity against the baseline, in percent: one dot and interval per name (NaN: no interval)."""
    figure = Figure(figsize=(WIDTH, 1.0 + 0.27 * len(names)))
    axes = figure.subplots()
    places = np.arange(len(names))[::-1]
    for place, value, (low, high) in zip(places, middle, intervals, strict=True):
        sure = high < 0 or low > 0
        colour = GREY if not sure else ACCENT if value < 0 else WARM
        axes.plot([low, high], [place, place], color=colour, linewidth=2.2, solid_capstyle="butt")
        axes.plot(value, place, "o", color=colour, markersize=6, markerfacecolor=colour if sure else "white")
    axes.axvline(0, color=INK, linewidth=0.8)
    axes.set_yticks(places, [short(name) for name in names])
    axes.set_ylim(-0.7, len(names) - 0.3)
    axes.grid(axis="x", color="#e4e4e4")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.set_xlabel("change of held-out perplexity against uniform, %   (lower is better)")
    return figure


@styled
def loss_by_tokens(methods: Mapping[str, Sequence[tuple[float, float, float, float]]], reference: str) -> Figure:
    """Loss against tokens on a logarithmic axis, a line with a band or a point with a bar per method.

    Args:
        methods: name -> (tokens, loss, low, high), sorted by tokens.
        reference: the method whose line the others are compared with: from each point a dotted line leads to it.
    """
    figure = Figure(figsize=(WIDTH, 4.2))
    axes = figure.subplots()
    line = np.array(methods.get(reference, ()), dtype=np.float64).reshape(-1, 4)
    if len(line):
        axes.fill_between(line[:, 0], line[:, 2], line[:, 3], color=GREY, alpha=0.25, linewidth=0)
        axes.plot(line[:, 0], line[:, 1], "o-", color=INK, label=reference, linewidth=1.5, markersize=4)
    others = [name for name in methods if name != reference]
    for place, name in enumerate(others):
        points = np.array(methods[name], dtype=np.float64)
        # bars of methods with one budget lie side by side
        shift = 1.0 + 0.03 * (place - (len(others) - 1) / 2) if len(points) == 1 else 1.0
        colour = COLOURS[place % len(COLOURS)]
        bars = np.stack([points[:, 1] - points[:, 2], points[:, 3] - points[:, 1]])
        x, y = points[:, 0] * shift, points[:, 1]
        axes.errorbar(x, y, bars, fmt="o-", color=colour, label=short(name), linewidth=1.2, markersize=5)
        if len(line) > 1 and len(points) == 1 and line[-1, 1] <= y[0] <= line[0, 1]:
            needed = np.exp(np.interp(-y[0], -line[:, 1], np.log(line[:, 0])))
            axes.plot([x[0], needed], [y[0], y[0]], ":", color=colour, linewidth=1.2)
    axes.set_xscale("log")
    ticks = sorted({point[0] for points in methods.values() for point in points})
    kept = [tick for place, tick in enumerate(ticks) if not place or tick > 1.2 * ticks[place - 1]]
    axes.set_xticks(kept, [short_count(float(f"{tick:.2g}")) for tick in kept])
    axes.minorticks_off()
    axes.grid(axis="y", color="#e4e4e4")
    axes.set_xlabel("tokens trained on   (logarithmic)")
    axes.set_ylabel("loss on held-out text, nats per token")
    axes.legend(loc="upper right", fontsize=8)
    return figure


@styled
def heat_map(
    values: npt.NDArray[np.float64],
    rows: Sequence[str],
    columns: Sequence[str],
    *,
    unit: str,
    form: str,
    bold: npt.NDArray[np.bool_] | None = None,
    limit: float | None = None,
) -> Figure:
    """A table of signed numbers coloured from purple (negative) through white to orange; NaN stays empty.

    `limit` is the absolute value with the strongest colour: by default the 95th percentile of all, so that one outlier
    does not make the rest pale.
    """
    sizes = np.abs(values[np.isfinite(values)])
    top = limit or (float(np.percentile(sizes, 95)) if sizes.size else 1.0) or 1.0
    figure = Figure(figsize=(min(WIDTH, 3.0 + 0.95 * len(columns)), 1.2 + 0.29 * len(rows)))
    axes = figure.subplots()
    image = axes.imshow(values, cmap="PuOr_r", vmin=-top, vmax=top, aspect="auto")
    for i, j in np.ndindex(values.shape):
        if np.isfinite(values[i, j]):
            red, green, blue, _ = image.cmap(image.norm(values[i, j]))
            dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.52
            text = axes.text(j, i, signed(form, float(values[i, j])), ha="center", va="center", fontsize=8)
            text.set_color("white" if dark else INK)
            text.set_fontweight("bold" if bold is not None and bool(bold[i, j]) else "normal")
    if len(columns) <= _MAX_LEVEL_LABELS:
        axes.set_xticks(range(len(columns)), [_folded(name) for name in columns], fontsize=8)
    else:
        axes.set_xticks(range(len(columns)), [short(name) for name in columns], fontsize=8, rotation=90)
    axes.set_yticks(range(len(rows)), [short(name) for name in rows])
    axes.tick_params(length=0, labeltop=True, labelbottom=False)
    for spine in axes.spines.values():
        spine.set_visible(False)
    axes.set_xticks(np.arange(1, len(columns)) - 0.5, minor=True)
    axes.set_yticks(np.arange(1, len(rows)) - 0.5, minor=True)
    axes.grid(which="minor", color="white", linewidth=1.5)
    axes.tick_params(which="minor", length=0)
    if len(rows) < 4:  # no room for a colour bar, and the cells show the numbers
        return figure
    bar = figure.colorbar(image, ax=axes, fraction=0.03, pad=0.02, aspect=max(8, 2 * len(rows)))
    bar.set_label(unit)
    bar.outline.set_visible(False)
    if sizes.size and np.nanmin(values) >= 0:
        bar.ax.set_ylim(0, top)
    return figure


@styled
def curves(
    lines: Mapping[str, tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]],
    highlighted: Sequence[str],
    unit: str,
    measure: str = "training loss",
) -> Figure:
    """Losses along trainings, name -> (x, loss): `highlighted` names in colour, the others as grey lines behind them.

    Losses on held-out text are measured at points that are evenly spaced in the logarithm, as is the axis then.
    """
    figure = Figure(figsize=(WIDTH, 3.6))
    axes = figure.subplots()
    for name, (x, loss) in lines.items():
        if name not in highlighted:
            axes.plot(x, loss, color="#c4c4c4", linewidth=0.7)
    for number, name in enumerate(highlighted):
        x, loss = lines[name]
        style = ("-", "--", ":", "-.")[number // len(COLOURS) % 4]
        axes.plot(x, loss, style, color=COLOURS[number % len(COLOURS)], linewidth=1.5, label=short(name))
    if measure != "training loss":
        axes.set_xscale("log")
    axes.set_xlabel(unit)
    axes.set_ylabel(f"{measure}, nats per token")
    axes.grid(color="#ececec")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    axes.xaxis.set_major_formatter(mpl.ticker.EngFormatter(sep=""))
    ends = [loss for _, loss in lines.values() if len(loss)]
    if ends:
        # training from scratch starts far above the losses of interest
        tail = np.concatenate([loss[len(loss) // 10 :] for loss in ends])
        axes.set_ylim(tail.min() - 0.05 * np.ptp(tail), tail.max() + 0.25 * np.ptp(tail) + 1e-3)
    return figure


@styled
def shares(names: Sequence[str], domains: Sequence[str], values: npt.NDArray[np.float64]) -> Figure:
    """Stacked bars of shares of tokens, (names, domains), in percent."""
    figure = Figure(figsize=(WIDTH, 1.3 + 0.29 * len(names)))
    axes = figure.subplots()
    places, left = np.arange(len(names))[::-1], np.zeros(len(names))
    for number, domain in enumerate(domains):
        colour = COLOURS[number % len(COLOURS)]
        hatch = HATCHES[number // len(COLOURS) % len(HATCHES)]
        axes.barh(
            places, values[:, number], 0.74, left, color=colour, label=short(domain, 26), hatch=hatch, edgecolor="white"
        )
        for place, share, start in zip(places, values[:, number], left, strict=True):
            if share >= 5:
                dark = colour in ("#0072B2", "#222222", "#7a6a00", "#D55E00", "#009E73")
                axes.text(
                    start + share / 2, place, f"{share:.0f}", ha="center", va="center", fontsize=7.5,
                    color="white" if dark else INK,
                )  # fmt: skip
        left = left + values[:, number]
    axes.set_yticks(places, [short(name) for name in names])
    axes.set_ylim(-0.6, len(names) - 0.4)
    axes.set_xlim(0, 100)
    axes.set_xlabel("share of tokens, %")
    axes.tick_params(axis="y", length=0)
    axes.spines["left"].set_visible(False)
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    return figure


@styled
def boxes(
    ratings: Mapping[str, npt.NDArray[np.float64]],
    domains: npt.NDArray[np.object_],
    shown: Sequence[str],
    of: str = "the mean of the corpus",
) -> Figure:
    """Ratings by domain, one panel per criterion. Box: middle half; line: median; whiskers: 5th to 95th percentile."""
    figure, panels = panel_grid(len(ratings), 1.1 + 0.24 * len(shown), sharey=True, sharex=True)
    counts = [int((domains == domain).sum()) for domain in shown]
    for panel, (name, values) in zip(panels, ratings.items(), strict=False):
        data = [values[domains == domain] for domain in shown][::-1]
        panel.boxplot(
            data, orientation="horizontal", whis=(5, 95), showfliers=False, widths=0.62, patch_artist=True,
            medianprops={"color": INK, "linewidth": 1.4}, boxprops={"facecolor": "#9cc9e3", "edgecolor": "#5a8fae"},
            whiskerprops={"color": "#5a8fae"}, capprops={"color": "#5a8fae"},
        )  # fmt: skip
        labels = [f"{short(domain, 24)} ({count:,})" for domain, count in zip(shown, counts, strict=True)][::-1]
        panel.set_yticks(range(1, len(shown) + 1), labels)
        panel.axvline(0, color=GREY, linewidth=0.8, zorder=0)
        panel.set_title(short(name), loc="left")
        panel.set_xlabel(f"standard deviations from {of}")
        panel.grid(axis="x", color="#ececec")
    return figure


@styled
def inside_outside(panels_of: Sequence[tuple[str, str, npt.NDArray[np.float64], npt.NDArray[np.float64]]]) -> Figure:
    """Histograms of (method, criterion, ratings selected, ratings left out), one panel per method, on one axis."""
    figure, panels = panel_grid(len(panels_of), 1.9, sharex=True)
    every = np.concatenate([np.concatenate([inside, outside]) for _, _, inside, outside in panels_of])
    low, high = np.percentile(every, [0.2, 99.8])
    edges = np.linspace(low, high, 41)
    for panel, (name, criterion, inside, outside) in zip(panels, panels_of, strict=False):
        for values, colour, label in ((outside, "#b9b9b9", "left out"), (inside, ACCENT, "selected")):
            weights = np.full(len(values), 100.0 / max(1, len(inside) + len(outside)))
            panel.hist(np.clip(values, low, high), list(edges), weights=weights, color=colour, alpha=0.75, label=label)
        panel.set_title(short(name, 44), loc="left")
        panel.set_xlabel(f"{short(criterion)}, standard deviations")
        panel.set_ylabel("% of sequences")
    panels[0].legend(fontsize=8)
    return figure


@styled
def predicted_vs_annotated(
    annotated: npt.NDArray[np.float64],
    predicted: npt.NDArray[np.float64],
    clip: float,
    figures: Mapping[str, Any],
) -> Figure:
    """One dot per validation sequence, or a density of many, with the numbers of `metrics.scorer.report`.

    Both scores are in standard deviations of the annotation. Annotated scores beyond ±clip are drawn at ±clip, as in
    training. Dashed lines separate the top sequences from the rest.
    """
    figure = Figure(figsize=(WIDTH, 4.2))
    axes = figure.subplots()
    x = np.clip(annotated, -clip, clip)
    if len(x) > 2000:
        density = axes.hexbin(x, predicted, gridsize=60, bins="log", mincnt=1, cmap="Blues", linewidths=0.1)
        bar = figure.colorbar(density, ax=axes, fraction=0.04, pad=0.02, format="%g")
        bar.set_label("sequences")
        bar.minorticks_off()
        bar.outline.set_visible(False)
    else:
        axes.scatter(x, predicted, s=9, color=ACCENT, alpha=min(1.0, 0.35 + 40 / len(x)), linewidths=0)
    axes.plot([-clip, clip], [-clip, clip], color=GREY, linewidth=0.8)
    best = figures["top"]
    if best["num_sequences"]:
        for draw, values in ((axes.axvline, x), (axes.axhline, predicted)):
            draw(np.sort(values)[-best["num_sequences"]], color=WARM, linewidth=0.8, linestyle="--")
    low, high = float(predicted.min()), float(predicted.max())
    axes.set_ylim(low - 0.08 * (high - low) - 1e-6, high + 0.08 * (high - low) + 1e-6)
    axes.set_xlabel("annotated score, standard deviations")
    axes.set_ylabel("predicted score, standard deviations")
    axes.grid(color="#ececec")
    lines = [
        f"{figures['num_sequences']:,} sequences",
        f"Spearman {signed('{:.2f}', figures['spearman'])}",
        f"MSE {figures['mse']:.2f}  (of the mean: {figures['mse_of_the_mean']:.2f})",
        "",
        f"top {100 * best['fraction']:.0f} % (dashed)",
        f"accuracy {best['accuracy']:.2f}  (by chance: {best['accuracy_by_chance']:.2f})",
        f"F1 {best['f1']:.2f}  (by chance: {best['f1_by_chance']:.2f})",
    ]
    figure.legend([], [], title="\n".join(lines), loc="outside right center", alignment="left", title_fontsize=8.5)
    return figure


@styled
def trajectory(
    steps: npt.NDArray[np.float64], training: npt.NDArray[np.float64], target: npt.NDArray[np.float64]
) -> Figure:
    """The loss of the proxy model by step, on its batches and on the target set (NaN: not measured)."""
    figure = Figure(figsize=(WIDTH, 2.9))
    axes = figure.subplots()
    axes.plot(steps, training, color="#b9b9b9", linewidth=1.2, label="its own batch")
    measured = np.isfinite(target)
    axes.plot(steps[measured], target[measured], "o-", color=ACCENT, linewidth=1.5, markersize=3, label="target set")
    axes.set_xlabel("optimizer steps")
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.set_ylabel("loss, nats per token")
    axes.grid(color="#ececec")
    axes.legend(loc="center left", bbox_to_anchor=(1.0, 0.5), fontsize=8)
    return figure
