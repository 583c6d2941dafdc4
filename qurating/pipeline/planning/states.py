"""Which artifacts the cells of a command need, and the state of each: complete, to build, refused."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from omegaconf import DictConfig, OmegaConf

from qurating.artifacts import lineage, publishing
from qurating.artifacts.files import read_json
from qurating.artifacts.manifest import manifest, referenced_name
from qurating.pipeline import preflight
from qurating.pipeline.run import made_or_read, read_by, requested, settle
from qurating.pipeline.sweep import prepare_comparison
from qurating.runtime.errors import StageError

# complete: skipped. build: does not exist. continue: an interrupted attempt goes on. replace: with overwrite=true.
# reuse: exists, but what it was made from is built again: kept if that comes out the same, otherwise refused.
# refused: the run would stop there. blocked: not reached, because of a refused one.
State = Literal["complete", "build", "continue", "replace", "reuse", "refused", "blocked"]
RUNS: tuple[State, ...] = ("build", "continue", "replace")


@dataclasses.dataclass
class Planned:
    """An artifact that some cells need.

    `why`: reason of the state, or "". `settings`: of its stage. `inputs`: names of the artifacts that it is made from,
    by the stage's name for them. `on_gpu`: whether the stage runs on one. `cells`: numbers of the cells.
    """

    name: str
    stage: str
    state: State
    why: str
    settings: Mapping[str, Any]
    inputs: Mapping[str, str]
    on_gpu: bool
    num_devices: int
    cells: list[int]


def plan_cells(cells: Iterable[tuple[DictConfig, Sequence[str]]]) -> dict[str, Planned]:
    """The artifacts of all chosen stages but the comparison, by name, in the order in which they are made.

    Args:
        cells: the composed config of each cell, without `hydra`, and its overrides.

    Raises:
        StageError: a config that no run would accept.
    """
    found: dict[str, Planned] = {}
    compared, memory = [], dict[Any, bytes]()
    for number, (config, overrides) in enumerate(cells):
        cell, stages, _ = settle(config, overrides, memory)
        preflight.check_files(config, stages)
        stopped_at = ""
        for stage in stages:
            name = config.artifacts[stage]
            known = found.get(name)
            if known is None or (known.state == "blocked" and not stopped_at):
                state, why = _state(stage, config, found)
                if stopped_at:
                    state, why = "blocked", f"not reached: {stopped_at}"
                cells_before = known.cells if known else []
                known = found[name] = _planned(stage, config, state, why, cells_before)
            known.cells.append(number)
            if known.state == "refused":
                stopped_at = name
        compared.append(made_or_read(config, stages, cell))
    if compared and lineage.COMPARISON in config.stages:
        each = _comparison(config, compared, found)
        found[each.name] = each
    return found


def _comparison(config: DictConfig, cells: list[dict[str, str]], found: Mapping[str, Planned]) -> Planned:
    """The comparison at the end of the command; its name is known once all cells are complete."""
    if all(each.state == "complete" for each in found.values()):
        prepare_comparison(cells, config)
        state, why = _state(lineage.COMPARISON, config, found)
    else:
        state, why = "build", ""
        OmegaConf.update(config, f"artifacts.{lineage.COMPARISON}", f"analyses/{len(cells)}_cells-…")
    made = _planned(lineage.COMPARISON, config, state, why, list(range(len(cells))))
    made.settings = {**made.settings, "cells": cells}
    return made


def _planned(stage: str, config: DictConfig, state: State, why: str, cells: list[int]) -> Planned:
    settings: dict[str, Any] = OmegaConf.to_container(config.stages[stage], resolve=True)  # type: ignore[assignment]
    trainer = settings.get("trainer") or {}
    accelerator = trainer.get("accelerator") or settings.get("accelerator") or "cpu"
    if accelerator == "auto":  # resolved where the job runs: as the trainings of this config
        accelerator = config.trainer.accelerator
    devices = config.trainer.devices
    inputs = read_by(config, stage)
    many = devices * config.trainer.num_nodes if isinstance(devices, int) else 1
    return Planned(
        config.artifacts[stage], stage, state, why, settings, inputs, accelerator in ("gpu", "cuda"), many, cells
    )


def _state(stage: str, config: DictConfig, found: Mapping[str, Planned]) -> tuple[State, str]:
    root = Path(config.paths.artifacts)
    path, names = root / config.artifacts[stage], list(dict.fromkeys(read_by(config, stage).values()))
    changing = [name for name in names if name in found and found[name].state != "complete"]
    recorded = _recorded_inputs(path) if changing else {}
    try:
        manifests = {name: manifest(root / name) for name in names if name not in changing}
        manifests |= {name: recorded.get(name, _UNKNOWN) for name in changing}
        asked = requested(stage, config, manifests)
    except StageError as error:  # an input is missing or damaged, or they do not fit together
        return "refused", str(error)
    try:
        is_complete = dataclasses.replace(asked, overwrite=False).is_complete()
    except StageError as error:
        return ("replace", str(error)) if config.overwrite else ("refused", str(error))
    if is_complete and changing:
        return "reuse", f"if {', '.join(changing)} comes out as before; otherwise " + (
            "built again" if config.overwrite else "refused"
        )
    if is_complete:
        return "complete", ", ".join(f"{setting} not compared" for setting in asked.uncompared())
    try:
        return ("continue", "at most: an interrupted attempt goes on") if publishing.started(asked) else ("build", "")
    except StageError as error:
        return "refused", str(error)


_UNKNOWN = {"fingerprint": "not made yet", "labels": [], "inputs": {}}


def _recorded_inputs(path: Path) -> dict[str, dict[str, Any]]:
    """A manifest for each input of an existing artifact, with the fingerprint that the artifact recorded; empty if the
    artifact has no readable manifest."""
    try:
        inputs = read_json(path / "manifest.json")["inputs"]
        return {
            referenced_name(given): {**_UNKNOWN, "fingerprint": given.rsplit(" (", 1)[1].rstrip(")")}
            for given in inputs.values()
        }
    except (OSError, StageError, KeyError, IndexError):
        return {}
