"""The figures of the study, from its numbers."""

import functools
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import matplotlib

matplotlib.use("Agg")
import matplotlib.pyplot as plt
import numpy as np

from experiments.lqs.plots import BLUE, GREEN, GREY, ORANGE, PURPLE, RED

Found = Mapping[str, Any]

COLOURS = (BLUE, ORANGE, GREEN, RED, PURPLE, "#8c564b", "#56b4e9", "#000000")


def draw_all(found: Found, folder: Path) -> None:
    """Write the figures of the parts that are complete: factors_<size>.png, price.png, sizes.png, folding.png."""
    folder.mkdir(parents=True, exist_ok=True)
    style: dict[str, Any] = {"font.size": 9, "axes.spines.top": False, "axes.spines.right": False, "axes.titlesize": 10}
    figures: dict[str, Callable[[], plt.Figure]] = {}
    for size in ("small", "medium"):
        if size in found:
            figures[f"factors_{size}"] = functools.partial(factors, found[size])
    if "small" in found and found["small"]["methods"]:
        figures["price"] = functools.partial(price, found["small"])
    if "small" in found and "medium" in found:
        figures["sizes"] = functools.partial(sizes, found["small"], found["medium"])
    if any(found.get("folding", {}).values()):
        figures["folding"] = functools.partial(folding, found["folding"])
    with plt.rc_context(style):  # type: ignore[arg-type]
        for name, draw in figures.items():
            figure = draw()
            figure.savefig(folder / f"{name}.png", dpi=150)
            plt.close(figure)


def factors(found: Found) -> plt.Figure:
    """Loss against tokens: uniform's curve with a band of one standard deviation, and the methods."""
    figure, axes = plt.subplots(figsize=(8, 4.4), layout="constrained")
    tokens = np.array([each["tokens"] for each in found["uniform"]])
    mean = np.array([np.mean(each["loss"]) for each in found["uniform"]])
    spread = np.array([_spread(each["loss"]) for each in found["uniform"]])
    axes.fill_between(tokens, mean - spread, mean + spread, color=GREY, alpha=0.25, linewidth=0)
    axes.plot(tokens, mean, color=GREY, marker="o", label="uniform")
    half = ", half the tokens"
    whole = [label for label in found["methods"] if not label.endswith(half)]
    for number, label in enumerate(whole):
        own = found["methods"][label]
        points = [own] if label + half not in found["methods"] else [found["methods"][label + half], own]
        axes.errorbar(
            [
                each["tokens"] * 1.012 ** (number - len(whole) / 2) for each in points
            ],  # so that they do not hide each other
            [np.mean(each["loss"]) for each in points],
            [_spread(each["loss"]) for each in points],
            color=COLOURS[number % len(COLOURS)],
            marker="oD"[number // len(COLOURS)],
            capsize=2,
            label=label,
        )
    axes.set(xscale="log", xlabel="training tokens", ylabel="loss on held-out prose (nats a token)")
    top = float(mean.max()) + 0.3
    axes.set_ylim(top=top)
    losses = {label: float(np.mean(found["methods"][label]["loss"])) for label in whole}
    above = [f"{label}: {loss:.2f}" for label, loss in losses.items() if loss > top]
    if above:
        axes.text(0.98, 0.98, "\n".join(["above:", *above]), ha="right", va="top", transform=axes.transAxes)
    axes.set_xticks(tokens, [f"{each / 1000:.0f}K" for each in tokens])
    axes.minorticks_off()
    axes.set_title("Mean and standard deviation over seeds")
    figure.legend(frameon=False, fontsize=8, loc="outside right upper")
    return figure


def price(found: Found) -> plt.Figure:
    """The difference of the loss from uniform by kind of text."""
    labels = [label for label in found["methods"] if not label.endswith("half the tokens")]
    kinds = list(found["uniform_losses"])
    values = np.array([[found["methods"][label]["price"][kind] for kind in kinds] for label in labels])
    figure, axes = plt.subplots(figsize=(9, 0.8 + 0.32 * len(labels)), layout="constrained")
    most = float(np.abs(values).max()) or 1.0
    image = axes.imshow(values, cmap="RdBu_r", vmin=-most, vmax=most, aspect="auto")
    for (row, column), value in np.ndenumerate(values):
        colour = "white" if abs(value) > 0.6 * most else "black"
        axes.text(column, row, f"{value:+.2f}".replace("-", "−"), ha="center", va="center", fontsize=7, color=colour)
    axes.set_xticks(range(len(kinds)), kinds, rotation=30, ha="right")
    axes.set_yticks(range(len(labels)), labels)
    axes.set_title("Loss against uniform at the same budget, by kind of text (nats a token)")
    figure.colorbar(image, ax=axes, fraction=0.03)
    return figure


def sizes(small: Found, medium: Found) -> plt.Figure:
    """The difference of the loss on prose from uniform, in both sizes of the model."""
    figure, axes = plt.subplots(figsize=(6, 3.4), layout="constrained")
    labels = [label for label in medium["methods"] if label in small["methods"]]
    for number, (found, colour) in enumerate(((small, BLUE), (medium, ORANGE))):
        means = np.array([found["methods"][label]["difference"]["mean"] for label in labels])
        each = [found["methods"][label]["difference"]["each"] for label in labels]
        places = np.arange(len(labels)) + (number - 0.5) * 0.25
        axes.scatter(means, places, color=colour, label=f"{found['parameters'] / 1e6:.2f}M parameters", zorder=3)
        for place, values in zip(places, each, strict=True):
            axes.scatter(values, [place] * len(values), color=colour, s=8, alpha=0.5)
    axes.axvline(0, color=GREY, linewidth=0.8, linestyle=":")
    axes.set_yticks(range(len(labels)), labels)
    axes.invert_yaxis()
    axes.set(xlabel="loss on held-out prose against uniform (nats a token)", title="Means and single seeds")
    axes.legend(frameon=False, fontsize=8)
    return figure


def folding(found: Found) -> plt.Figure:
    """Losses along the training, by order: one panel for the data and training."""
    panels = [
        (data, training)
        for data, orders in found.items()
        for training in dict.fromkeys(own["training"] for own in orders)
    ]
    columns = max(1, len(panels) // max(1, len([data for data, orders in found.items() if orders])))
    lines = -(-len(panels) // columns)
    size = (3.6 * columns + 1.6, 2.8 * lines)
    figure, grid = plt.subplots(lines, columns, figsize=size, layout="constrained", squeeze=False, sharey="row")
    orders = list(dict.fromkeys(own["order"] for of in found.values() for own in of))
    colours = dict(zip(orders, (GREY, *COLOURS), strict=False))
    for axes, (data, training) in zip(grid.flat, panels, strict=False):
        for own in found[data]:
            if own["training"] == training:
                curve = own["curve"]
                mean = np.array(curve["mean"])
                axes.plot(curve["tokens"], mean, color=colours[own["order"]], label=own["order"])
                if curve["sd"] is not None:
                    ends = (mean - curve["sd"], mean + curve["sd"])
                    axes.fill_between(curve["tokens"], *ends, color=colours[own["order"]], alpha=0.15, linewidth=0)
        named = "cosine, batches of 2" if training == "as in the tables above" else training
        axes.set(title=f"{data} data, {named}", xscale="log", xlabel="tokens")
        at = next(own for own in found[data] if own["training"] == training)["curve"]["tokens"][-5::2]
        axes.set_xticks(at, [f"{each / 1000:.0f}K" for each in at])
        axes.minorticks_off()
    for row in grid:
        row[0].set_ylabel("loss on held-out prose")
    handles = {label: line for axes in grid.flat for line, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), frameon=False, fontsize=8, loc="outside right upper")
    return figure


def _spread(values: list[float]) -> float:
    return float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
