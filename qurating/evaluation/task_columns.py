"""Results on tasks (`evaluate_tasks`) as columns of the table of methods."""

import json
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from qurating.artifacts.ancestry import Ancestry
from qurating.artifacts.files import read_json
from qurating.metrics import student
from qurating.runtime.errors import StageError

MEASURES = ("accuracy", "accuracy_normalised", "bits_per_byte", "probability")
# The columns, and what they hold; `task_categories` is JSON: category -> measure -> mean over seeds.
COLUMNS: dict[str, type] = {
    **{"tasks": str, "num_tasks": int, "task_chance": float},
    **{f"task_{measure}{end}": float for measure in MEASURES for end in ("", "_low", "_high")},
    **{"task_categories": str, "task_results": list},
}


class TaskResults(NamedTuple):
    """Results of one language model on one set of tasks.

    `source`: the artifact with its fingerprint. `name`: of the set (`tasks.name`). `settings`: equal for the same set.
    `averages`: over the tasks, of "all" and of each category (`tasks.json`). `labels`: warnings of the manifest.
    """

    source: str
    name: str
    settings: str
    num_tasks: int
    averages: Mapping[str, Mapping[str, float | None]]
    labels: tuple[str, ...]

    @property
    def same(self) -> tuple[str, str]:
        """Equal for results that can be compared."""
        return self.name, self.settings


def find(ancestry: Ancestry, names: Iterable[str]) -> dict[str, list[TaskResults]]:
    """The results in artifacts `<kind>/<name>`, by the reference to the language model; those that are damaged, or
    whose model was replaced since, are left out (`python -m qurating.verify` names them)."""
    found: dict[str, list[TaskResults]] = {}
    for name in names:
        try:
            made = ancestry.artifact(name)
            content = read_json(made.folder / "tasks.json")
            model = made.inputs["language_model"]
            tasks = made.folder.name.removeprefix(f"{model.folder.name}-")
            labels = tuple(map(str, made.manifest.get("labels") or []))
            settings = json.dumps([made.settings, content["lm_eval"]], sort_keys=True)
            each = TaskResults(made.reference, tasks, settings, len(content["tasks"]), content["averages"], labels)
        except (StageError, KeyError, FileNotFoundError):
            continue
        found.setdefault(model.reference, []).append(each)
    return found


def most_common(results: Iterable[Sequence[TaskResults]], wanted: str = "") -> tuple[str, str] | None:
    """The set of tasks (`TaskResults.same`) that most runs have; None if no run has one.

    Args:
        results: of each run.
        wanted: only sets of this name; empty: any.
    """
    sets = Counter(each.same for own in results for each in own if wanted in ("", each.name))
    return min(sets, key=lambda same: (-sets[same], same)) if sets else None


def columns(results: Sequence[Sequence[TaskResults]], same: tuple[str, str] | None) -> tuple[dict[str, Any], list[str]]:
    """The columns of a method, and notes.

    Args:
        results: of each of its runs (seeds).
        same: the set of tasks to show.
    """
    chosen = [each for own in results for each in own if each.same == same]
    if not chosen or same is None:
        return {}, []
    row: dict[str, Any] = {"tasks": same[0], "num_tasks": chosen[0].num_tasks}
    row |= {"task_results": [each.source for each in chosen], "task_chance": chosen[0].averages["all"].get("chance")}
    for measure in MEASURES:
        values = [value for each in chosen if (value := each.averages["all"].get(measure)) is not None]
        if len(values) == len(chosen):
            low, high = student.interval(values) or (None, None)
            row |= {f"task_{measure}": _mean(values), f"task_{measure}_low": low, f"task_{measure}_high": high}
    by_category = {
        category: {measure: _of_category(chosen, category, measure) for measure in MEASURES}
        for category in chosen[0].averages
        if category != "all"
    }
    row["task_categories"] = json.dumps(by_category, ensure_ascii=False) if by_category else None
    notes = sorted({label for each in chosen for label in each.labels})
    if len(chosen) < len(results):
        notes.append(f"results on tasks of {len(chosen)} of {len(results)} seeds alone")
    return row, notes


def _of_category(chosen: Sequence[TaskResults], category: str, measure: str) -> float | None:
    values = [each.averages.get(category, {}).get(measure) for each in chosen]
    known = [value for value in values if value is not None]
    return _mean(known) if len(known) == len(values) else None


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)
