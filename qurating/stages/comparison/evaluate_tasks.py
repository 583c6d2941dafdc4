"""Evaluate a language model on tasks of lm-evaluation-harness: accuracy, and likelihoods of the correct answers."""

import importlib.metadata
import logging
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pyarrow as pa
import pyarrow.parquet as pq

from qurating.artifacts.files import read_json, write_json, write_table
from qurating.evaluation.harness import MEASURES, measures, run_task
from qurating.evaluation.harness_tasks import Loaded, check_installed, load, wanted_tasks
from qurating.models.heldout import PRECISIONS
from qurating.runtime.devices import device_of
from qurating.runtime.errors import StageError

ON_TOO_LONG = ("cut", "stop")


def evaluate_tasks(
    *,
    output: Path,
    language_model: Path,
    tasks: Sequence[str | Mapping[str, Any]],
    include_path: str | None,
    limit: int | None,
    on_too_long: str,
    batch_size: int,
    precision: str,
    accelerator: str,
    fewshot_seed: int,
    task_files: str | None = None,
) -> dict[str, Any]:
    """Write `items.parquet` (columns: `harness.SCHEMA`) and `tasks.json`; a finished task is not run again.

    `tasks.json` has the `tasks` as they were asked for (see `harness.run_task`; of a group of tasks, over all of its
    items), the `subtasks` of groups, and `averages` over the tasks, each counting once: of `all`, and of each category.

    Args:
        language_model: a Hugging Face folder with its tokenizer.
        tasks: names of tasks, groups or tags of the harness, or mappings: see `wanted_tasks`.
        include_path: a folder with YAML files of further tasks.
        limit: the first items of each task; the artifact, and what is made of it, then has a label.
        on_too_long: a question with its examples that exceeds the context of the model: "cut" reads its end and counts
            it, "stop" raises.
        batch_size: requests per forward pass; changes results by rounding alone.
        precision: 32-true, or bf16-mixed (faster on a GPU, about three digits).
        accelerator: auto, cpu or gpu.
        fewshot_seed: of the examples before a question, and of what else a task draws.
        task_files: the files under `include_path`; not used here, but other files make another artifact.

    Raises:
        StageError: lm-eval is not installed; a wrong setting; a task that cannot be loaded (see `harness_tasks.load`);
            a context that is too short; a requested GPU that does not exist.
    """
    if precision not in PRECISIONS:
        raise StageError(f"stages.evaluate_tasks.precision={precision} is none of {', '.join(PRECISIONS)}")
    if on_too_long not in ON_TOO_LONG:
        raise StageError(f"tasks.on_too_long={on_too_long} is none of {', '.join(ON_TOO_LONG)}")
    for setting, value in (("stages.evaluate_tasks.batch_size", batch_size), ("tasks.limit", limit)):
        if value is not None and (not isinstance(value, int) or value < 1):
            raise StageError(f"{setting}={value}: it must be a whole number, at least 1")
    wanted = wanted_tasks(tasks)
    device = device_of(accelerator, None, "stages.evaluate_tasks.accelerator")
    check_installed()
    from qurating.evaluation.harness_model import HarnessModel

    logging.getLogger("lm_eval").setLevel(logging.ERROR)  # it warns of every question that is cut
    loaded = load(wanted, None if include_path is None else Path(include_path).expanduser(), fewshot_seed)
    model = HarnessModel(
        language_model, device, batch_size=batch_size, precision=precision, may_cut=on_too_long == "cut"
    )
    version = importlib.metadata.version("lm_eval")
    finished = {
        name: _finished(output / "finished" / quote(name, safe=""), version, model, task, limit, fewshot_seed)
        for each in loaded
        for name, task in each.tasks.items()
    }
    items = pa.concat_tables([table for _, table in finished.values()])
    results = {each.wanted.name: _result(each, finished) for each in loaded}
    averages = _averages(results)
    content = {
        "tasks": results,
        "subtasks": {e.wanted.name: {name: finished[name][0] for name in e.tasks} for e in loaded if len(e.tasks) > 1},
        "averages": averages,
        "lm_eval": version,
        "limit": limit,
    }
    write_table(output / "items.parquet", items)
    write_json(output / "tasks.json", content)
    shutil.rmtree(output / "finished")
    counts = {"tasks": len(results), "items": len(items), "cut": sum(each["num_cut"] for each in results.values())}
    counts |= {key: value for key, value in averages["all"].items() if value is not None}
    return counts if limit is None else counts | {"labels": [f"at most {limit} items of each task"]}


def _finished(
    path: Path, version: str, model: Any, task: Any, limit: int | None, seed: int
) -> tuple[dict[str, Any], pa.Table]:
    """The results and items of a task, which is run unless an earlier attempt has finished it."""
    results_file, items_file = path.with_name(f"{path.name}.json"), path.with_name(f"{path.name}.parquet")
    if not results_file.is_file() or read_json(results_file)["lm_eval"] != version:
        results, items = run_task(model, task, limit, seed)
        write_table(items_file, items)
        write_json(results_file, {"lm_eval": version, "results": results})  # last: the task is finished
    return read_json(results_file)["results"], pq.read_table(items_file)


def _result(loaded: Loaded, finished: Mapping[str, tuple[dict[str, Any], pa.Table]]) -> dict[str, Any]:
    """The results of what was asked for: of the one task, or over all items of several."""
    own = {name: finished[name] for name in loaded.tasks}
    first = next(iter(own.values()))[0]
    if len(own) == 1:
        return first | {"category": loaded.wanted.category}
    reported = {name: results["harness"] | {"sample_len": results["num_items"]} for name, (results, _) in own.items()}
    aggregated = {} if loaded.group is None else loaded.group.aggregate(reported)
    return {
        "kind": first["kind"],
        "num_fewshot": first["num_fewshot"],
        "version": first["version"] if loaded.group is None else loaded.group.version,
        "category": loaded.wanted.category,
        "harness": {key: value for key, value in aggregated.items() if "," in key},
        **measures([row for _, items in own.values() for row in items.to_pylist()]),
    }


def _averages(results: Mapping[str, Mapping[str, Any]]) -> dict[str, dict[str, float | None]]:
    """Means over tasks, of all and of each category; None if a task lacks the value.

    A task without a normalised accuracy counts there with its accuracy.
    """
    categories = {each["category"] for each in results.values()} - {None}
    return {
        name: {measure: _average(measure, chosen) for measure in ("chance", *MEASURES)}
        for name in ("all", *sorted(categories))
        if (chosen := [each for each in results.values() if name in ("all", each["category"])])
    }


def _average(measure: str, results: Sequence[Mapping[str, Any]]) -> float | None:
    otherwise = "accuracy" if measure == "accuracy_normalised" else measure
    values = [each[otherwise] if each[measure] is None else each[measure] for each in results]
    return None if None in values else sum(values) / len(values)
