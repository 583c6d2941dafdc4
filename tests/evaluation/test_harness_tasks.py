"""Finding, checking and loading tasks, without the network."""

import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from repository import ROOT
from tasks_example import needs_lm_eval, task_folder

from qurating.evaluation import harness_tasks
from qurating.evaluation.harness_tasks import Wanted, load, wanted_tasks
from qurating.runtime.errors import StageError


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return task_folder(tmp_path_factory.mktemp("tasks") / "own")


@pytest.fixture(scope="module")
def index() -> dict[str, Any]:
    """The index of all tasks, which takes seconds."""
    from lm_eval.tasks import TaskManager

    return dict(TaskManager(include_path=harness_tasks.OWN_TASKS).task_index)


def test_tasks_are_names_or_say_more() -> None:
    given: list[Any] = ["piqa", {"task": "sciq", "num_fewshot": 2, "category": "reading"}]
    assert wanted_tasks(given) == [Wanted("piqa"), Wanted("sciq", 2, "reading")]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ([], "at least one task"),
        (["piqa", {"task": "piqa"}], "each only once"),
        ([{"name": "piqa"}], "no task"),
        ([{"task": "piqa", "shots": 3}], "unknown: shots"),
        ([{"task": "piqa", "num_fewshot": -1}], "num_fewshot=-1"),
        ([{"task": "piqa", "num_fewshot": "2"}], "num_fewshot=2, which is no number"),
    ],
)
def test_tasks_that_are_none(given: list[Any], message: str) -> None:
    with pytest.raises(StageError, match=message):
        wanted_tasks(given)


def test_lm_eval_that_is_not_installed_is_said_with_the_extra(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in [name for name in sys.modules if name.split(".")[0] == "lm_eval"]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "lm_eval", None)  # importing it raises ImportError
    with pytest.raises(StageError, match=r"lm_eval, which cannot be imported.*pip install -e '\.\[tasks\]'"):
        harness_tasks.check_installed()


@needs_lm_eval
def test_a_name_that_is_unknown_is_answered_with_names_that_are_near() -> None:
    with pytest.raises(StageError, match=r"no task has the name 'hellaswg': near it are .*hellaswag"):
        load([Wanted("hellaswg")], None, 0)


@needs_lm_eval
def test_a_folder_without_a_task_file(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"tasks\.include_path=.* has no YAML file"):
        load([Wanted("piqa")], tmp_path, 0)


@needs_lm_eval
def test_code_of_the_model_is_never_run(folder: Path) -> None:
    for name in ("running_sums", "humaneval"):  # the second one's own files would fetch code when they are imported
        with pytest.raises(StageError, match=f"the task {name} runs the code that the model writes"):
            load([Wanted(name)], folder, 0)


@needs_lm_eval
def test_a_task_whose_data_are_missing(folder: Path, tmp_path: Path) -> None:
    shutil.copytree(folder, tmp_path / "copy")
    settings = yaml.safe_load((folder / "few_sums.yaml").read_text())
    settings["dataset_kwargs"]["data_files"] = {"test": str(tmp_path / "absent.jsonl")}
    (tmp_path / "copy/few_sums.yaml").write_text(yaml.safe_dump(settings))
    with pytest.raises(StageError, match=r"the task few_sums cannot be loaded: .*absent\.jsonl"):
        load([Wanted("few_sums")], tmp_path / "copy", 0)


@needs_lm_eval
def test_examples_are_as_many_as_asked_for_or_as_the_task_says(folder: Path) -> None:
    few, many = load([Wanted("few_sums", 2), Wanted("many_sums")], folder, 0)
    assert few.tasks["few_sums"].get_config("num_fewshot") == 2
    assert many.tasks["many_sums"].get_config("num_fewshot") == 0
    with pytest.raises(StageError, match="mmlu_dev_questions is defined without examples"):
        load([Wanted("mmlu_dev_questions", 3)], None, 0)


@needs_lm_eval
def test_a_task_counts_once(folder: Path) -> None:
    with pytest.raises(StageError, match="few_sums is in sums and in few_sums"):
        load([Wanted("sums"), Wanted("few_sums")], folder, 0)
    (group,) = load([Wanted("sums")], folder, 0)
    assert set(group.tasks) == {"many_sums", "few_sums"}
    assert group.group is not None


@needs_lm_eval
@pytest.mark.parametrize("preset", ["qurating", "delt_general", "delt_math", "offline"])
def test_the_tasks_of_a_preset_exist_and_read_the_data_sets_that_it_names(preset: str, index: dict[str, Any]) -> None:
    settings = yaml.safe_load((ROOT / f"conf/tasks/{preset}.yaml").read_text())
    data_sets = set()
    waiting = [each.name for each in wanted_tasks(settings["tasks"])]
    while waiting:
        entry = index[waiting.pop()]
        waiting += harness_tasks._children(entry)
        own = entry.cfg or {}  # a tag has none
        assert not own.get("unsafe_code")
        data_sets.add(own.get("dataset_path"))
    assert data_sets - {None} == set(settings["datasets"])


@needs_lm_eval
def test_names_are_checked_without_loading_a_task(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(harness_tasks, "_load", None)
    harness_tasks.check(["mmlu_dev_questions"], None)
    with pytest.raises(StageError, match=r"has no YAML file of a task"):
        harness_tasks.check(["mmlu_dev_questions"], folder / "nothing")
