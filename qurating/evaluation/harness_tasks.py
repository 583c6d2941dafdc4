"""Finding and loading tasks of lm-evaluation-harness (an extra: `pip install -e '.[tasks]'`)."""

import difflib
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from qurating.runtime.errors import StageError

OWN_TASKS = Path(__file__).parent / "tasks"


@dataclass(frozen=True)
class Wanted:
    """A task, a group or a tag of the harness, by name.

    `num_fewshot`: solved examples before each question; None: as many as the task itself says. `category`: results of
    one category are averaged.
    """

    name: str
    num_fewshot: int | None = None
    category: str | None = None


@dataclass(frozen=True)
class Loaded:
    """What `name` stands for: its tasks by name, and the harness' group of them, if it is one."""

    wanted: Wanted
    tasks: dict[str, Any]
    group: Any | None


def check_installed() -> None:
    """Raise StageError if lm-eval cannot be imported."""
    try:
        import lm_eval.models.huggingface  # noqa: F401
    except ImportError as error:
        raise StageError(
            f"evaluate_tasks needs the package lm_eval, which cannot be imported ({error}): pip install -e '.[tasks]'"
        ) from None


def wanted_tasks(given: Sequence[str | Mapping[str, Any]]) -> list[Wanted]:
    """The tasks of a setting: names, or mappings with `task`, `num_fewshot` and `category`.

    Raises:
        StageError: no task; one that is given twice; an unknown key; a number of examples that is none.
    """
    found = []
    for each in given:
        keys = {"task": each} if isinstance(each, str) else dict(each)
        if "task" not in keys or (unknown := keys.keys() - {"task", "num_fewshot", "category"}):
            what = f"unknown: {', '.join(sorted(unknown))}" if "task" in keys else "no task"
            raise StageError(f"tasks.tasks has {keys} ({what}): give a name, or task, num_fewshot and category")
        number = keys.get("num_fewshot")
        if number is not None and (not isinstance(number, int) or number < 0):
            raise StageError(f"tasks.tasks: {keys['task']} has num_fewshot={number}, which is no number of examples")
        found.append(Wanted(str(keys["task"]), number, keys.get("category")))
    names = [each.name for each in found]
    if len(set(names)) < len(names) or not names:
        raise StageError(f"tasks.tasks={names} must name at least one task, and each only once")
    return found


def load(wanted: Sequence[Wanted], include_path: Path | None, seed: int) -> list[Loaded]:
    """Load tasks with their data; one of `include_path` comes before one of the harness with the same name.

    Args:
        include_path: a folder with YAML files of tasks, read with all of its subfolders.
        seed: of what a task draws while it is loaded, and of its examples.

    Raises:
        StageError: a folder without a YAML file; an unknown task (with the names that are near); a task that runs code
            of the model; a task whose data cannot be loaded; a task that is in two of the groups, or fixes its number
            of examples at 0.
    """
    manager = _found(wanted, include_path)
    loaded = [_load(manager, each, seed) for each in wanted]
    owners: dict[str, str] = {}
    for found in loaded:
        for name in found.tasks:
            if name in owners:
                raise StageError(f"the task {name} is in {owners[name]} and in {found.wanted.name}: leave one out")
            owners[name] = found.wanted.name
    return loaded


def check(given: Sequence[str | Mapping[str, Any]], include_path: Path | None) -> None:
    """Raise StageError for tasks that `load` would refuse without their data, and if lm-eval is not installed."""
    wanted = wanted_tasks(given)
    check_installed()
    _found(wanted, include_path)


def set_seeds(seed: int) -> None:
    """Seed Python, numpy and torch: some tasks shuffle answers with the global generators."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def _found(wanted: Sequence[Wanted], include_path: Path | None) -> Any:
    """The harness' manager of tasks, which has all of these."""
    if include_path is not None and not any(include_path.glob("**/*.yaml")):
        raise StageError(f"tasks.include_path={include_path} has no YAML file of a task (*.yaml)")
    manager = _manager([each.name for each in wanted], include_path)
    for each in wanted:
        _check_safe(manager.task_index, each.name)
    return manager


def _manager(names: Sequence[str], include_path: Path | None) -> Any:
    from lm_eval.tasks import TaskManager

    paths = [OWN_TASKS] if include_path is None else [OWN_TASKS, include_path]
    # the harness has 14,000 files of tasks, whose index takes seconds
    local = TaskManager(include_path=paths, include_defaults=False)
    if all(_is_in(local.task_index, name) for name in names):
        return local
    manager = TaskManager(include_path=paths)
    for name in names:
        if name not in manager.task_index:
            near = difflib.get_close_matches(name, manager.all_tasks, n=5, cutoff=0.5)
            advice = f"near it are {', '.join(near)}" if near else "no name is near it"
            raise StageError(f"no task has the name {name!r}: {advice} (`lm-eval ls tasks` lists all)")
    return manager


def _is_in(index: Mapping[str, Any], name: str) -> bool:
    """Whether an index has a task, or a group with everything in it."""
    return name in index and all(_is_in(index, child) for child in _children(index[name]))


def _children(entry: Any) -> list[str]:
    """The names in a group or a tag; none of a task."""
    if entry.cfg is None:
        return sorted(entry.tags)
    listed = entry.cfg.get("task")
    if not isinstance(listed, list):
        return []
    return [each if isinstance(each, str) else str(each.get("task") or each.get("group")) for each in listed]


def _check_safe(index: Mapping[str, Any], name: str) -> None:
    """Refuse a task that runs code of the model, before its own files are imported."""
    if (entry := index.get(name)) is None:  # defined within its group: checked once it is loaded
        return
    if (entry.cfg or {}).get("unsafe_code"):
        raise StageError(
            f"the task {name} runs the code that the model writes, which this framework never does: leave it out, or "
            "evaluate it with `lm-eval run` in a sandbox"
        )
    for child in _children(entry):
        _check_safe(index, child)


def _load(manager: Any, wanted: Wanted, seed: int) -> Loaded:
    set_seeds(seed)
    try:
        found = manager.load([wanted.name])
    except Exception as error:  # the data sets, the Hub and the files of tasks raise many types
        raise StageError(f"the task {wanted.name} cannot be loaded: {type(error).__name__}: {error}") from error
    for name, task in found["tasks"].items():
        if getattr(task, "UNSAFE_CODE", False):
            raise StageError(f"the task {name} runs the code that the model writes: leave {wanted.name} out")
        own = task.get_config("num_fewshot")
        if wanted.num_fewshot and own == 0:
            raise StageError(
                f"the task {name} is defined without examples (num_fewshot: 0): set its num_fewshot to 0 or null"
            )
        number = (own or 0) if wanted.num_fewshot is None else wanted.num_fewshot
        task.set_config(key="num_fewshot", value=number)
        task.set_fewshot_seed(seed=seed)
    return Loaded(wanted, dict(found["tasks"]), (found.get("groups") or {}).get(wanted.name))
