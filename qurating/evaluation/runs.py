"""The trainings of language models under a folder of artifacts, and their evaluations: also failed, missing ones."""

import contextlib
import hashlib
import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from qurating.artifacts import lineage
from qurating.artifacts.ancestry import Ancestry, Made
from qurating.artifacts.files import read_json
from qurating.artifacts.manifest import manifest, reference
from qurating.artifacts.seeds import replicate_of
from qurating.evaluation import parts, task_columns
from qurating.evaluation.comparison import label_of
from qurating.evaluation.task_columns import TaskResults
from qurating.runtime.errors import StageError

COMPLETE = "complete"


@dataclass(frozen=True)
class Run:
    """One training of a language model, evaluated or not.

    `source`: the artifact that its row leads back to, with its fingerprint; a working folder has none.
    `state`: "complete", or what is wrong in a few words; then `problem` may say more.
    `label`, `is_uniform`: the name of its method, and whether that is the baseline (`comparison.label_of`).
    `seeds`: those of selecting, ordering and training, by stage.
    `chain`: what it is made of by stage, as far as that is known; of a complete one with the evaluation itself.
    `tasks`: results of the model on tasks.
    `part`: the part of the held-out text that it is measured on, see `parts.evaluated`; empty: all that was evaluated.
    `measures`: those of the part in `metrics.json`; empty if that is missing or damaged.
    `parts`: the loss in nats per token on the other named sets of the evaluation; without sets, on its domains.
    """

    source: str
    state: str
    label: str
    is_uniform: bool = False
    seeds: Mapping[str, Any] = field(default_factory=dict)
    chain: Mapping[str, Made] = field(default_factory=dict)
    measures: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""
    tasks: Sequence[TaskResults] = ()
    part: str = ""
    parts: Mapping[str, float] = field(default_factory=dict)

    @property
    def seed(self) -> str:
        """Its seeds for people: 3, or 3 r1 for replicate 1 of seed 3; 3/3/4 if they differ; empty if there is none."""
        found = [self._readable(seed) for seed in self.seeds.values() if seed is not None]
        return "/".join(found if len(set(found)) > 1 else found[:1])

    def _readable(self, used: Any) -> str:
        seed = self.chain[lineage.CORPUS].seed if lineage.CORPUS in self.chain else None
        number = replicate_of(seed, used) if isinstance(seed, int) and isinstance(used, int) else None
        return f"{seed} r{number}" if number else str(used)


def runs_of(root: Path, evaluations: Collection[str], part: str = "") -> list[Run]:
    """The runs of these evaluations, names under `root`, sorted by name; `part` as in `find_runs`."""
    ancestry = Ancestry(root)
    tasks = task_columns.find(ancestry, _by_stage(root).get("evaluate_tasks", []))
    found = [_evaluated(ancestry, name, part) for name in sorted(evaluations)]
    return [replace(run, tasks=tasks.get(model or "", ())) for run, model in found]


def runs_in(folders: Iterable[Path], part: str = "") -> list[Run]:
    """The runs of the evaluations in these folders, `<root>/<kind>/<name>`; `part` as in `find_runs`."""
    names: dict[Path, list[str]] = {}
    for folder in folders:
        names.setdefault(folder.parents[1], []).append(f"{folder.parent.name}/{folder.name}")
    return [run for root, own in names.items() for run in runs_of(root, own, part)]


def find_runs(root: Path, part: str = "") -> list[Run]:
    """Every evaluation and every language model without one under `root`, sorted by name, unfinished ones last.

    Args:
        root: a folder of artifacts.
        part: a domain or a named set of the evaluations; empty: all that each evaluated.
    """
    ancestry = Ancestry(root)
    names = _by_stage(root)
    tasks = task_columns.find(ancestry, names.get("evaluate_tasks", []))
    found = [_evaluated(ancestry, name, part) for name in names.get("evaluate", [])]
    unfinished = list(_unfinished(ancestry))
    runs = [
        replace(run, tasks=tasks.get(model, ())) if run.state == COMPLETE and model else run
        for run, model in (*found, *unfinished)
    ]
    known = {model for _, model in (*found, *unfinished)}
    return sorted([*runs, *_not_evaluated(ancestry, names.get("train_lm", []), known)], key=lambda run: run.source)


def _by_stage(root: Path) -> dict[str | None, list[str]]:
    """The names of all artifacts under `root` by their stage, sorted."""
    found: dict[str | None, list[str]] = {}
    for file in sorted(root.glob("*/*/manifest.json")):
        name = file.parent.relative_to(root).as_posix()
        if "/." not in f"/{name}":
            found.setdefault(_stage_of(file), []).append(name)
    return found


def _stage_of(file: Path) -> str | None:
    """The stage that a manifest names; where it cannot be read, that of its kind, if it is of evaluations."""
    with contextlib.suppress(StageError, AttributeError):
        return str(read_json(file).get("stage"))
    return "evaluate" if file.parts[-3] == "evaluations" else None


def _evaluated(ancestry: Ancestry, name: str, part: str) -> tuple[Run, str | None]:
    """The run of an evaluation, and the reference to its model, as far as its manifest can be read."""
    folder = ancestry.root / name
    source, model, made, damage, origin = name, None, None, "", ""
    metrics: dict[str, Any] = {}
    with contextlib.suppress(StageError, KeyError, TypeError):  # only so as not to count its model as not evaluated
        model = read_json(folder / "manifest.json")["inputs"]["language_model"]
    try:
        found = manifest(folder)
        source = reference(name, found)
        metrics = _metrics(folder, found)
    except StageError as error:
        damage = _short(error)
    try:
        made = ancestry.artifact(name)
        source = made.reference
        if made.inputs["language_model"].stage != "train_lm":
            origin = f"its model was made by {made.inputs['language_model'].stage}"
    except StageError as error:
        origin = f"what it was made of is unknown: {_short(error)}"
    known = _known({} if made is None else made.by_stage(), name)
    if damage:
        return Run(source, "damaged", **known, problem=damage), model
    if origin:
        return Run(source, "origin unknown", **known, measures=metrics["overall"], problem=origin), model
    try:
        measures = parts.measured(metrics, part)
    except StageError as error:
        return Run(source, "part not evaluated", **known, problem=str(error)), model
    if not math.isfinite(measures["nats_per_token"]):
        return Run(source, "diverged", **known, problem="its loss is not finite"), model
    others = {name: each["nats_per_token"] for name, each in parts.others(metrics, part).items()}
    return Run(source, COMPLETE, **known, measures=measures, part=part, parts=others), model


def _known(chain: Mapping[str, Made], otherwise: str) -> dict[str, Any]:
    """What the artifacts that a run is made of say about it."""
    label, is_uniform = label_of({stage: made.manifest for stage, made in chain.items()}, otherwise)
    seeds = {stage: chain[stage].seed for stage in lineage.REPLICATED if stage in chain}
    return {"label": label, "is_uniform": is_uniform, "seeds": seeds, "chain": chain}


def _metrics(folder: Path, found: Mapping[str, Any]) -> dict[str, Any]:
    """An evaluation's `metrics.json`; raises StageError if its content is not the one that was written."""
    content = (folder / "metrics.json").read_bytes() if (folder / "metrics.json").is_file() else b""
    if hashlib.sha256(content).hexdigest() != found["files"].get("metrics.json", {}).get("sha256"):
        raise StageError(f"{folder} is damaged: the content of metrics.json is not the one that was written")
    metrics: dict[str, Any] = json.loads(content)
    if metrics.get("overall", {}).get("nats_per_token") is None:
        raise StageError(f"{folder / 'metrics.json'} has no loss over all held-out tokens")
    return metrics


def _not_evaluated(ancestry: Ancestry, trainings: list[str], known: set[str | None]) -> Iterator[Run]:
    for name in trainings:
        try:
            made = ancestry.artifact(name)
        except StageError as error:
            if not any(model and model.startswith(f"{name} (") for model in known):
                yield Run(name, "damaged", name, problem=_short(error))
            continue
        if made.reference not in known:
            yield Run(made.reference, "not evaluated", **_known(made.by_stage(), name))


def _unfinished(ancestry: Ancestry) -> Iterator[tuple[Run, str | None]]:
    """Trainings and evaluations that were begun, by the plan beside their working folders (`artifacts.publishing`)."""
    for file in sorted(ancestry.root.glob("*/.*.plan.json")):
        name = f"{file.parent.name}/{file.name[1:].removesuffix('.plan.json')}"
        partial = file.with_name(f".{file.name[1:].removesuffix('.plan.json')}.partial")
        try:
            plan = read_json(file)
            identity = plan["identity"]
            what = {"train_lm": "training", "evaluate": "evaluation"}[identity["stage"]]
        except (StageError, KeyError, TypeError):  # another stage, or nothing that can be read
            continue
        if not partial.is_dir() and (ancestry.root / name / "manifest.json").is_file():
            continue  # what a kill right after the publication has left
        chain: dict[str, Made] = {}
        given = identity["inputs"]
        for key in ("corpus", "order", "language_model"):  # the last one counts most
            with contextlib.suppress(StageError, KeyError):
                chain |= ancestry.referenced(given[key]).by_stage()
        known = _known(chain, name)
        if what == "training":
            known["seeds"] |= {"train_lm": identity["config"].get("seed")}
        state = f"{what} failed" if plan.get("failed") else f"{what} not finished"
        yield Run(name, state, **known), given.get("language_model")


def _short(error: StageError) -> str:
    """What is wrong, without the way out."""
    return str(error).split(";")[0]
