"""The stage: settings, limits, and what a kill leaves."""

import json
import shutil
import sys
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from tasks_example import needs_lm_eval, random_model, run, task_folder

from qurating.evaluation import harness_tasks
from qurating.runtime.errors import StageError
from qurating.stages.comparison import evaluate_tasks as stage


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"precision": "16-mixed"}, "32-true, bf16-mixed"),
        ({"on_too_long": "skip"}, "none of cut, stop"),
        ({"limit": 0}, r"tasks\.limit=0: it must be a whole number, at least 1"),
        ({"limit": 0.5}, r"tasks\.limit=0\.5"),
        ({"batch_size": 0}, r"batch_size=0"),
        ({"accelerator": "tpu"}, "auto, cpu or gpu"),
        ({"tasks": []}, "at least one task"),
    ],
)
def test_wrong_settings_are_refused_before_any_work(tmp_path: Path, changed: dict[str, Any], message: str) -> None:
    with pytest.raises(StageError, match=message):
        run(tmp_path / "absent", tmp_path / "out", **changed)


def test_without_lm_eval_the_stage_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "lm_eval.models.huggingface", None)
    with pytest.raises(StageError, match=r"pip install -e '\.\[tasks\]'"):
        run(tmp_path / "absent", tmp_path / "out")


@needs_lm_eval
def test_a_kill_loses_the_running_task_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model, folder = random_model(tmp_path / "lm"), str(task_folder(tmp_path / "own"))
    tasks = [{"task": "many_sums", "num_fewshot": 2, "category": "sums"}, "greedy_sums", "written_sums"]
    given = {"tasks": tasks, "include_path": folder, "limit": None}
    undisturbed = run(model, tmp_path / "whole", **given)
    evaluated: list[str] = []
    run_task = stage.run_task

    def watched(model: Any, task: Any, *arguments: Any) -> Any:
        if task.task_name == fails_at:
            raise KeyboardInterrupt
        evaluated.append(task.task_name)
        return run_task(model, task, *arguments)

    monkeypatch.setattr(stage, "run_task", watched)
    fails_at: str | None = "greedy_sums"
    with pytest.raises(KeyboardInterrupt):
        run(model, tmp_path / "out", **given)
    assert evaluated == ["many_sums"]
    fails_at = None
    assert run(model, tmp_path / "out", **given) == undisturbed
    assert evaluated == ["many_sums", "greedy_sums", "written_sums"]
    for name in ("tasks.json", "items.parquet"):
        assert (tmp_path / "out" / name).read_bytes() == (tmp_path / "whole" / name).read_bytes()
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["items.parquet", "tasks.json"]


@needs_lm_eval
def test_a_task_finished_by_another_release_of_the_harness_is_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = random_model(tmp_path / "lm")
    with monkeypatch.context() as patch:
        patch.setattr(stage, "write_json", lambda path, value: _first_only(path, value))
        with pytest.raises(OSError, match="full"):
            run(model, tmp_path / "out", limit=3)
    file = tmp_path / "out/finished/mmlu_dev_questions.json"
    known = json.loads(file.read_text())
    for version, expected in ((known["lm_eval"], 0.75), ("0.0.1", 0.25)):
        known |= {"lm_eval": version, "results": known["results"] | {"chance": 0.75}}
        file.write_text(json.dumps(known))
        shutil.copytree(tmp_path / "out/finished", tmp_path / version / "finished")
        assert run(model, tmp_path / version, limit=3)["chance"] == expected


def _first_only(path: Path, value: Any) -> None:
    if path.name == "tasks.json":
        raise OSError("the disk is full")
    path.write_text(json.dumps(value))


@needs_lm_eval
def test_a_part_of_the_items_is_labelled(tmp_path: Path) -> None:
    model = random_model(tmp_path / "lm")
    counts = run(model, tmp_path / "part", limit=5)
    assert counts["labels"] == ["at most 5 items of each task"]
    assert counts["items"] == 5
    assert json.loads((tmp_path / "part/tasks.json").read_text())["limit"] == 5
    folder = str(task_folder(tmp_path / "own"))
    whole = run(model, tmp_path / "all", limit=None, tasks=["few_sums"], include_path=folder)
    assert "labels" not in whole


@needs_lm_eval
def test_averages_count_each_task_once_and_need_all_of_them(tmp_path: Path) -> None:
    model, folder = random_model(tmp_path / "lm"), str(task_folder(tmp_path / "own"))
    tasks = [
        {"task": "sums", "category": "choice"},
        {"task": "mmlu_dev_questions", "category": "choice"},
        "greedy_sums",
    ]
    counts = run(model, tmp_path / "out", tasks=tasks, include_path=folder)
    found = json.loads((tmp_path / "out/tasks.json").read_text())
    results, averages = found["tasks"], found["averages"]
    assert set(averages) == {"all", "choice"}
    for measure in ("accuracy", "accuracy_normalised", "probability", "bits_per_byte"):
        mean = (results["sums"][measure] + results["mmlu_dev_questions"][measure]) / 2
        assert averages["choice"][measure] == pytest.approx(mean)
    assert averages["all"]["probability"] is averages["all"]["chance"] is None  # greedy_sums has no choices
    normalised = [results[name]["accuracy_normalised"] for name in ("sums", "mmlu_dev_questions")]
    every = [*normalised, results["greedy_sums"]["accuracy"]]  # which has no normalised one
    assert averages["all"]["accuracy_normalised"] == pytest.approx(sum(every) / 3)
    assert "probability" not in counts
    assert counts["tasks"] == 3
    rows = pq.read_table(tmp_path / "out/items.parquet", columns=["task"])["task"].to_pylist()
    assert counts["items"] == len(rows) == 9 + 4 + 12 + 9


def test_the_folder_of_own_tasks_is_part_of_the_package() -> None:
    assert list(harness_tasks.OWN_TASKS.glob("*.yaml"))
