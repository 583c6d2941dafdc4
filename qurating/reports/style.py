"""The style of all figures. Colours are Okabe and Ito's, safe for colour-blind readers."""

import io
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

import matplotlib as mpl
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

INK, GREY, ACCENT, WARM = "#222222", "#8a8a8a", "#0072B2", "#D55E00"

COLOURS = ("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#D55E00", "#56B4E9", "#7a6a00", "#222222")

HATCHES = ("", "///", "...", "xxx")

STYLE: dict[str, Any] = {
    "font.family": "DejaVu Sans",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.titleweight": "bold",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.edgecolor": GREY,
    "axes.axisbelow": True,
    "xtick.color": INK,
    "ytick.color": INK,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
    "text.parse_math": False,  # a name may hold a dollar sign
    "svg.fonttype": "path",  # glyphs as paths: the same on every machine
    "svg.hashsalt": "qurating",  # fixed ids: the same file each time
}

WIDTH = 8.6  # inches

P = ParamSpec("P")
F = TypeVar("F", bound=Figure | None)


def _style() -> Any:
    """A context with the style; untyped, since matplotlib lists every key in the type."""
    return mpl.rc_context(STYLE)  # type: ignore[arg-type]


def styled(draw: Callable[P, F]) -> Callable[P, F]:
    """Draw a figure, or none, in the style."""

    @wraps(draw)
    def styled(*args: P.args, **kwargs: P.kwargs) -> F:
        with _style():
            return draw(*args, **kwargs)

    return styled


def save(figure: Figure, path: Path) -> str:
    """Write a figure to `path` as PNG (160 dots per inch), and return it as SVG with a transparent background."""
    path.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.StringIO()
    with _style():
        figure.draw_without_rendering()
        figure.set_layout_engine("none")  # laid out once for both
        figure.savefig(path, dpi=160, metadata={"Software": None})
        figure.savefig(buffer, format="svg", transparent=True, metadata={"Date": None, "Creator": None})
    return buffer.getvalue()


def short(name: str, width: int = 40) -> str:
    """A name for a label: one line, printable, at most `width` characters (the middle is left out)."""
    name = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in name)
    keep = (width - 1) // 2
    return name if len(name) <= width else f"{name[:keep]}…{name[-(width - 1 - keep) :]}"


def signed(form: str, value: float) -> str:
    """A number with a minus sign; a number that rounds to zero has no sign."""
    text = form.format(value)
    return text.lstrip("+-") if not text.strip("+-0.") else text.replace("-", "−")


def panel_grid(number: int, height: float, **shared: bool) -> tuple[Figure, list[Axes]]:
    """A figure with two panels per row, each `height` inches high, and its `number` panels."""
    rows = -(-number // 2)
    figure = Figure(figsize=(WIDTH, max(1, rows) * height))
    figure.set_layout_engine("constrained", h_pad=0.08, w_pad=0.08)
    grid = np.atleast_1d(figure.subplots(rows, 2 if number > 1 else 1, squeeze=False, **shared)).ravel()  # type: ignore[call-overload]
    for unused in grid[number:]:
        unused.set_visible(False)
    for axes in grid[:number]:
        axes.tick_params(labelbottom=True)
    return figure, list(grid[:number])
