"""The figures of the study, from its numbers."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from experiments.lqs.findings import METHODS
from experiments.lqs.mixture import KINDS

Found = Mapping[str, Any]

# the colours of Okabe and Ito, which colour-blind readers can distinguish
BLUE, ORANGE, GREEN, RED, PURPLE, GREY = "#0072b2", "#e69f00", "#009e73", "#d55e00", "#cc79a7", "#777777"
COLOURS = dict(zip(KINDS, (BLUE, GREEN, PURPLE, ORANGE, RED, GREY), strict=True))


def draw_all(found: Found, folder: Path) -> None:
    """Write kinds.png, scorers.png, approximations.png and language_models.png."""
    folder.mkdir(parents=True, exist_ok=True)
    style: dict[str, Any] = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10}
    with plt.rc_context(style):  # type: ignore[arg-type]
        for draw in (kinds, scorers, approximations, language_models):
            figure = draw(found[draw.__name__])
            figure.savefig(folder / f"{draw.__name__}.png", dpi=150)
            plt.close(figure)


def kinds(found: Found) -> plt.Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.6), width_ratios=(1.2, 1), layout="constrained")
    labels = {"lqs": "LQS", "lqs_second": "LQS, other proxy set and batches", "pds": "PDS (no denominator)"}
    shown = zip(labels.items(), (BLUE, GREEN, ORANGE), ("o", "D", "s"), (-0.2, 0, 0.2), strict=True)
    for (score, label), colour, marker, shift in shown:
        means = np.array([found[score][kind]["mean"] for kind in KINDS])
        ends = np.array([found[score][kind]["interval"] for kind in KINDS]).T
        left.errorbar(
            means,
            np.arange(len(KINDS)) + shift,
            xerr=np.abs(ends - means),
            fmt=marker,
            color=colour,
            label=label,
            capsize=2,
        )
    left.axvline(0.5, color=GREY, linewidth=0.8, linestyle=":")
    left.set(
        xlim=(0, 1),
        xlabel="mean rank percentile (1 is best, 0.5 is chance)",
        title="Where each kind ranks, 95 % bootstrap over documents",
    )
    left.set_yticks(range(len(KINDS)), KINDS)
    left.invert_yaxis()
    left.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.5, -0.17), ncols=3, columnspacing=1)
    parts = right.violinplot(
        [found["lqs_percentiles"][kind] for kind in KINDS],
        range(len(KINDS)),
        orientation="horizontal",
        showextrema=False,
        widths=0.85,
    )
    for body, kind in zip(parts["bodies"], KINDS, strict=True):
        body.set(color=COLOURS[kind], alpha=0.7)
    right.set_yticks(range(len(KINDS)), KINDS)
    right.invert_yaxis()
    right.set(xlim=(0, 1), xlabel="rank percentile of a sequence by LQS", title="Spread within each kind")
    return figure


def scorers(found: Found) -> plt.Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9, 3.9), layout="constrained")
    numbers = sorted(int(key) for key in found if key.isdigit())
    shown = {
        "fresh": ("fresh sequences", BLUE, lambda own: (own["fresh"]["spearman"], own["fresh"]["interval"])),
        "within": (
            "fresh, within kinds",
            ORANGE,
            lambda own: (own["within_kinds"]["mean"], own["within_kinds"]["interval"]),
        ),
    }
    for label, colour, value in shown.values():
        means = np.array([value(found[str(number)])[0] for number in numbers])
        ends = np.array([value(found[str(number)])[1] for number in numbers]).T
        left.errorbar(numbers, means, yerr=np.abs(ends - means), fmt="o-", color=colour, label=label, capsize=2)
    alone = [found[str(number)]["kind_alone"] for number in numbers]
    left.plot(numbers, alone, "x:", color=GREY, label="knowing the kind alone")
    two = found["two_annotations"]
    for value, colour in ((two["all"]["spearman"], BLUE), (two["within_kinds"]["mean"], ORANGE)):
        left.axhline(value, color=colour, linewidth=0.9, linestyle="--")
    left.plot([], [], color=GREY, linestyle="--", linewidth=0.9, label="two annotations of the same sequences")
    left.axhline(0, color="black", linewidth=0.6)
    left.set(
        xlabel="annotated proxy sequences",
        ylabel="Spearman with the annotation",
        title="The scorer on sequences it was not made from",
        ylim=(min(-0.05, left.get_ylim()[0]), 1),
    )
    left.set_xscale("log", base=2)
    left.set_xticks(numbers, [str(number) for number in numbers])
    left.minorticks_off()
    left.legend(frameon=False, fontsize=7.5, loc="lower center", bbox_to_anchor=(0.5, 0.06))
    scatter = found["scatter"]
    annotated, predicted, names = (np.array(scatter[key]) for key in ("annotated", "predicted", "kinds"))
    for kind in KINDS:
        of_kind = names == kind
        right.scatter(predicted[of_kind], annotated[of_kind], s=9, color=COLOURS[kind], label=kind, alpha=0.75)
    right.plot([0, 1], [0, 1], color=GREY, linewidth=0.8, linestyle=":")
    right.set(
        xlabel="rank percentile by the scorer",
        ylabel="rank percentile by annotation",
        title=f"{found['fresh_sequences']} fresh sequences, scorer of {numbers[-1]}",
        xlim=(0, 1),
        ylim=(0, 1),
    )
    right.legend(frameon=False, fontsize=7.5, loc="upper left", bbox_to_anchor=(1, 1), markerscale=1.5)
    return figure


def approximations(found: Found) -> plt.Figure:
    bars = [(name, own) for name, own in found.items() if isinstance(own, dict)]
    figure, axes = plt.subplots(figsize=(8.5, 0.29 * len(bars) + 1.1), layout="constrained")
    values = np.array([own["spearman"] for _, own in bars])
    ends = np.array([own["interval"] for _, own in bars]).T
    colours = [RED if "broadcast" in name or "fault" in name or "of 1" in name else BLUE for name, _ in bars]
    axes.barh(range(len(bars)), values, color=colours, alpha=0.85)
    axes.errorbar(
        values, range(len(bars)), xerr=np.abs(ends - values), fmt="none", ecolor="black", linewidth=0.9, capsize=2
    )
    for row, (value, end) in enumerate(zip(values, ends[1], strict=True)):
        text = f"{value:.4f}" if value > 0.99 else f"{value:.2f}"
        axes.text(max(end, 0) + 0.015, row, text.replace("-", "−"), va="center", fontsize=8)
    axes.set_yticks(range(len(bars)), [name for name, _ in bars])
    axes.axvline(0, color="black", linewidth=0.6)
    axes.set(
        xlim=(min(-0.2, ends.min() - 0.05), 1.2),
        ylim=(len(bars) - 0.4, -0.6),
        xlabel="Spearman with the exact scores: every step, next step's norm,\nexact Hessian, float32 (95 % bootstrap)",
        title=f"Approximations (blue) and released faults (orange), {found['sequences']} sequences",
    )
    return figure


def language_models(found: Found) -> plt.Figure:
    figure, (left, right) = plt.subplots(1, 2, figsize=(9.5, 3.6), width_ratios=(1.25, 1), layout="constrained")
    prose = found["changes"]["prose"]
    names = [method for method in METHODS if method != "uniform"]
    for row, method in enumerate(names):
        own = prose["methods"][method]
        left.plot(own["over_documents"], [row - 0.12] * 2, color=BLUE, linewidth=3, alpha=0.5, solid_capstyle="butt")
        left.plot(own["over_seeds"], [row + 0.12] * 2, color=ORANGE, linewidth=3, alpha=0.5, solid_capstyle="butt")
        left.plot(own["by_seed"], [row + 0.12] * len(own["by_seed"]), "o", color=ORANGE, markersize=4)
        left.plot(own["change"], row, "|", color="black", markersize=16, markeredgewidth=1.6)
    left.axvline(0, color="black", linewidth=0.8)
    left.set_yticks(range(len(names)), [METHODS[method] for method in names])
    left.invert_yaxis()
    left.plot([], [], color=BLUE, linewidth=3, alpha=0.5, label="95 % over documents")
    left.plot([], [], color=ORANGE, linewidth=3, alpha=0.5, label="95 % over seeds (t, 3 seeds; dots)")
    left.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.4, -0.17), ncols=2)
    left.set(
        xlabel="change of perplexity against uniform, % (left is better)",
        title=f"Held-out prose: {prose['documents']} documents, {prose['tokens']:,} tokens",
    )
    starts = np.zeros(len(METHODS))
    for kind in KINDS:
        shares = np.array([found["methods"][method]["share_of_tokens"][kind] for method in METHODS])
        right.barh(range(len(METHODS)), 100 * shares, left=100 * starts, color=COLOURS[kind], label=kind)
        starts += shares
    right.set_yticks(range(len(METHODS)), list(METHODS.values()))
    right.invert_yaxis()
    right.set(xlim=(0, 100), xlabel="share of the training tokens, %", title="What they were trained on")
    right.legend(frameon=False, fontsize=8, loc="upper center", bbox_to_anchor=(0.4, -0.17), ncols=3)
    return figure
