"""Results on tasks in the table of methods: over seeds, one set of tasks, and what is missing."""

import json
from pathlib import Path

import pytest
from results_example import evaluated, on_tasks, trained

from qurating.evaluation.methods import rows
from qurating.evaluation.runs import find_runs
from qurating.reports.results import as_csv, as_markdown


def models(root: Path, label: str = "uniform", seeds: int = 2) -> list[str]:
    found = [trained(root, label, seed=seed) for seed in range(seeds)]
    for seed, model in enumerate(found):
        evaluated(root, model, 3.0 + seed / 10)
    return found


def test_tasks_are_averaged_over_seeds(tmp_path: Path) -> None:
    first, second = models(tmp_path)
    sources = [on_tasks(tmp_path, first, 0.3), on_tasks(tmp_path, second, 0.4)]
    (row,) = rows(find_runs(tmp_path))
    assert (row["tasks"], row["num_tasks"], row["task_chance"], row["task_results"]) == ("offline", 2, 0.25, sources)
    half = 12.7062047364 * 0.05  # t of one degree of freedom, times the standard error
    expected = {"accuracy": (0.35, half), "accuracy_normalised": (0.45, half), "probability": (0.175, half / 2)}
    for measure, (mean, width) in expected.items():
        found = [row[f"task_{measure}{end}"] for end in ("", "_low", "_high")]
        assert found == pytest.approx([mean, mean - width, mean + width])
    assert row["task_bits_per_byte"] is None  # a task has none
    assert json.loads(row["task_categories"])["reading"]["accuracy"] == pytest.approx(0.35)
    text = as_markdown([row])
    assert "45.0 ± 63.5" in text
    assert "Tasks: offline, mean of 2 tasks; guessing gives 25.0 %." in text
    assert sources[0] in text
    assert "answer, bits per byte" not in text
    assert "0.35" in as_csv([row])


def test_a_seed_without_results_is_told(tmp_path: Path) -> None:
    on_tasks(tmp_path, models(tmp_path)[0], 0.3, labels=("at most 20 items of each task",))
    (row,) = rows(find_runs(tmp_path))
    assert row["task_accuracy"] == 0.3
    assert row["task_accuracy_low"] is None
    assert "results on tasks of 1 of 2 seeds alone" in row["notes"]
    assert "at most 20 items of each task" in row["notes"]


def test_one_set_of_tasks_is_shown(tmp_path: Path) -> None:
    first, second = models(tmp_path)
    other = models(tmp_path, "top-k", 1)[0]
    for model in (first, second):
        on_tasks(tmp_path, model, 0.3, "offline")
    on_tasks(tmp_path, other, 0.5, "offline", limit=20)  # another set by the same name
    on_tasks(tmp_path, other, 0.7, "mine")
    found = {row["method"]: row for row in rows(find_runs(tmp_path))}
    assert found["uniform"]["task_accuracy"] == 0.3
    assert found["top-k"]["task_accuracy"] is None  # cannot be compared
    mine = {row["method"]: row for row in rows(find_runs(tmp_path), "mine")}
    assert (mine["uniform"]["tasks"], mine["top-k"]["task_accuracy"]) == (None, 0.7)


def test_results_of_a_model_that_was_replaced_do_not_count(tmp_path: Path) -> None:
    model = models(tmp_path, seeds=1)[0]
    on_tasks(tmp_path, model, 0.3)
    file = tmp_path / "task_results" / f"{model.split(' (')[0].removeprefix('models/')}-offline" / "manifest.json"
    file.write_text(file.read_text().replace(model, f"{model[:-2]}x)"))
    (row,) = rows(find_runs(tmp_path))
    assert (row["tasks"], row["task_results"]) == (None, [])
