"""The figures of a judge show its preferences."""

from typing import Any

import numpy as np
import pytest

from qurating.reports import judge_figures

NAN = float("nan")


def test_pairs_answered_in_one_order_are_left_out() -> None:
    first, second = np.array([0.2, NAN, 0.9, 0.4]), np.array([0.3, 0.5, 0.8, NAN])
    (panel,) = judge_figures.orders({"style": (first, second)}).axes
    assert np.asarray(panel.collections[0].get_offsets()).tolist() == [[0.2, 0.3], [0.9, 0.8]]


def test_preferences_are_percents_of_the_pairs_that_have_one() -> None:
    p = np.array([0.5, 0.52, 0.97, 0.01, NAN])
    (panel,) = judge_figures.preferences({"style": p}).axes
    bars: Any = panel.patches
    heights = {round(bar.get_x(), 2): bar.get_height() for bar in bars if bar.get_height()}
    assert heights == {0.0: pytest.approx(50), 0.9: pytest.approx(25), 0.95: pytest.approx(25)}


def test_lengths_have_a_mean_and_its_error_in_each_bin() -> None:
    rng = np.random.default_rng(0)
    ratio = np.concatenate([rng.uniform(0.55, 0.95, 30), rng.uniform(-1.9, -1.1, 20), [3.0]])
    p = rng.uniform(size=51)
    p[3] = NAN
    (panel,) = judge_figures.lengths({"style": p}, ratio).axes
    found = [(line.get_xdata()[0], line.get_ydata()[0]) for line in panel.lines if line.get_marker() == "o"]  # type: ignore[index]
    parts = [np.arange(30, 50), np.delete(np.arange(30), 3)]  # one text alone has no error
    assert found == [(pytest.approx(ratio[part].mean()), pytest.approx(p[part].mean())) for part in parts]
    spans = [bar.get_segments()[0][:, 1] for bar in panel.collections]  # type: ignore[attr-defined]
    for span, part in zip(spans, parts, strict=True):
        assert np.ptp(span) == pytest.approx(2 * p[part].std(ddof=1) / np.sqrt(len(part)))
