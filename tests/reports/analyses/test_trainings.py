"""Figures about trainings."""

from pathlib import Path

import numpy as np
import pytest
from matplotlib.figure import Figure
from results_example import evaluated, trained, with_curve

from qurating.analysis.results import CURVES, RESULTS, curves, results
from qurating.evaluation.methods import rows
from qurating.evaluation.runs import find_runs
from qurating.reports.analyses import trainings


def legend(figure: Figure | None) -> list[str]:
    assert figure is not None
    found = figure.axes[0].get_legend()
    assert found is not None
    return [text.get_text() for text in found.get_texts()]


def test_losses_and_curves_name_the_best(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainings, "MAX_METHODS", 2)
    labels = ["uniform", "$top-1", "$top-2", "$top-3"]
    for place, label in enumerate(labels):
        for seed in (0, 1):
            points = {10: 6.0, 30_000: 3.0 + place / 10 + seed / 100}
            evaluated(
                tmp_path, with_curve(tmp_path, trained(tmp_path, label, seed=seed), points), [*points.values()][-1]
            )
    runs = find_runs(tmp_path)
    table = results(runs, rows(runs), [])
    assert legend(trainings.results(table)) == labels[:-1]
    figure = trainings.curves(curves(runs, rows(runs)), table)
    assert legend(figure) == [f"{label}, 30.0K" for label in labels[:-1]]
    assert figure is not None
    lines = figure.axes[0].lines
    assert len(lines) == 2 * len(labels)  # every seed, the others in grey
    assert {tuple(np.asarray(line.get_xdata())) for line in lines} == {(10.0, 30_000.0)}


def test_nothing_to_show() -> None:
    assert trainings.results(RESULTS.empty_table()) is None
    assert trainings.curves(CURVES.empty_table(), RESULTS.empty_table()) is None
