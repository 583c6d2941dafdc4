"""The figures show the numbers that they are given."""

from typing import Any

import numpy as np
import pytest
from matplotlib.colors import to_hex
from matplotlib.figure import Figure

from qurating.reports import figures
from qurating.reports.style import ACCENT, GREY, WARM


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_changes_are_coloured_where_their_interval_is_on_one_side_of_zero() -> None:
    nan = float("nan")
    figure = figures.changes(["a", "b", "c", "d"], [-2.0, 1.5, 0.5, 4.0], [(-3, -1), (1, 2), (-1, 2), (nan, nan)])
    dots = [line for line in figure.axes[0].lines if line.get_marker() == "o"]
    assert [dot.get_xdata()[0] for dot in dots] == [-2.0, 1.5, 0.5, 4.0]  # type: ignore[index]
    assert [to_hex(str(dot.get_color())) for dot in dots] == [colour.lower() for colour in (ACCENT, WARM, GREY, GREY)]
    # the first stands at the top
    places = dict(zip(figure.axes[0].get_yticks(), figure.axes[0].get_yticklabels(), strict=True))
    assert [places[place].get_text() for place in (3, 2, 1, 0)] == ["a", "b", "c", "d"]
    assert [dot.get_ydata()[0] for dot in dots] == [3, 2, 1, 0]  # type: ignore[index]


def test_a_heat_map_writes_its_numbers_and_leaves_out_what_is_none() -> None:
    values = np.array([[1.25, -0.5], [np.nan, 0.0]])
    figure = figures.heat_map(values, ["x", "y"], ["p", "q"], unit="%", form="{:+.1f}", bold=values > 1)
    assert texts(figure) == ["+1.2", "−0.5", "0.0"]
    assert [text.get_fontweight() for text in figure.axes[0].texts] == ["bold", "normal", "normal"]
    assert [text.get_position() for text in figure.axes[0].texts] == [(0, 0), (1, 0), (1, 1)]


def test_one_outlier_does_not_bleach_the_rest_of_a_heat_map() -> None:
    values = np.append(np.ones(99), 1000.0).reshape(10, 10)
    names = [str(i) for i in range(10)]
    figure = figures.heat_map(values, names, names, unit="", form="{:.0f}")
    assert figure.axes[0].images[0].norm.vmax < 2  # type: ignore[operator]


def test_curves_behind_the_highlighted_ones_have_no_name() -> None:
    x = np.arange(20.0)
    lines = {name: (x, 5 - x / factor) for name, factor in (("a", 8), ("b", 9), ("c", 10))}
    (axes,) = figures.curves(lines, ["c", "a"], "steps").axes
    assert [text.get_text() for text in axes.get_legend().get_texts()] == ["c", "a"]  # type: ignore[union-attr]
    assert [line.get_ydata()[-1] for line in axes.lines] == [5 - 19 / 9, 5 - 19 / 10, 5 - 19 / 8]  # type: ignore[index]
    low, high = axes.get_ylim()
    assert low < 5 - 19 / 8
    assert high < 6


def test_bars_of_shares_lie_one_after_another() -> None:
    values = np.array([[60.0, 38.0, 2.0], [10.0, 10.0, 80.0]])
    figure = figures.shares(["one", "other"], ["web", "books", "code"], values)
    patches: Any = figure.axes[0].patches
    bars = [(bar.get_x(), bar.get_width(), bar.get_y()) for bar in patches]
    assert [width for _, width, _ in bars] == values.T.ravel().tolist()
    assert [start for start, _, _ in bars] == [0, 0, 60, 10, 98, 20]
    assert bars[0][2] > bars[1][2]
    assert texts(figure) == ["60", "10", "38", "10", "80"]  # there is no room for 2


def test_boxes_are_of_each_domains_ratings_the_first_at_the_top() -> None:
    rng = np.random.default_rng(0)
    ratings = rng.normal(size=300)
    domains = rng.choice(np.array(["web", "books", "code"], dtype=object), 300)
    (panel,) = figures.boxes({"clarity": ratings}, domains, ["books", "web"]).axes
    counts = {name: int((domains == name).sum()) for name in ("books", "web")}
    assert [label.get_text() for label in panel.get_yticklabels()] == [
        f"web ({counts['web']})",
        f"books ({counts['books']})",
    ]
    ends = [(np.asarray(line.get_xdata()), np.asarray(line.get_ydata())) for line in panel.lines]
    upright = [(x[0], y.mean()) for x, y in ends if np.ptp(x) == 0]
    for place, name in ((2, "books"), (1, "web")):  # matplotlib's percentile and numpy's median differ by rounding
        assert pytest.approx((np.median(ratings[domains == name]), place)) in upright


def test_what_is_inside_and_outside_are_percents_of_all() -> None:
    rng = np.random.default_rng(0)
    inside, outside = rng.normal(1, 1, 250), rng.normal(0, 1, 750)
    panel = figures.inside_outside([("top-k", "clarity", inside, outside)]).axes[0]
    heights = [sum(bar.get_height() for bar in group) for group in panel.containers]
    assert heights == [pytest.approx(75.0), pytest.approx(25.0)]  # also those beyond the axis


def test_annotated_scores_are_drawn_where_they_were_learned() -> None:
    annotated, predicted = np.array([-9.0, 0.0, 1.0, 2.0]), np.array([-1.0, 0.5, 0.0, 1.5])
    top = {"num_sequences": 1, "fraction": 0.25, "accuracy": 1.0, "accuracy_by_chance": 0.6, "f1": 1.0}
    numbers = {"num_sequences": 4, "spearman": -0.2, "mse": 1.0, "mse_of_the_mean": 2.0}
    figure = figures.predicted_vs_annotated(annotated, predicted, 3.0, numbers | {"top": top | {"f1_by_chance": 0.25}})
    dots = figure.axes[0].collections[0].get_offsets()
    assert np.asarray(dots).tolist() == [[-3.0, -1.0], [0.0, 0.5], [1.0, 0.0], [2.0, 1.5]]
    assert "Spearman −0.20" in figure.legends[0].get_title().get_text()
    dashed = [line for line in figure.axes[0].lines if line.get_linestyle() == "--"]
    assert [line.get_xdata()[0] for line in dashed[:1]] == [2.0]  # type: ignore[index]


def test_a_trajectory_has_a_dot_where_the_target_was_measured() -> None:
    steps, training = np.arange(5.0), np.linspace(5, 4, 5)
    (axes,) = figures.trajectory(steps, training, np.array([5.0, np.nan, np.nan, np.nan, 4.5])).axes
    assert list(axes.lines[0].get_ydata()) == training.tolist()  # type: ignore[arg-type]
    assert list(axes.lines[1].get_xdata()) == [0, 4]  # type: ignore[arg-type]


def test_many_columns_of_a_heat_map_have_upright_names() -> None:
    for number, rotation in ((8, 0), (9, 90)):
        names = [f"name {i}" for i in range(number)]
        figure = figures.heat_map(np.ones((2, number)), ["a", "b"], names, unit="", form="{:.0f}")
        assert {label.get_rotation() for label in figure.axes[0].get_xticklabels()} == {rotation}
