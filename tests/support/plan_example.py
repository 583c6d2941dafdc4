"""Plans in this process, as the command would print them."""

import json
import os
from pathlib import Path
from typing import Any
from unittest import mock

from hydra.core.global_hydra import GlobalHydra
from hydra.types import RunMode
from sweep_example import corpus

from qurating.artifacts.artifact import Artifact
from qurating.artifacts.publishing import building
from qurating.pipeline.planning.callback import report_of
from qurating.pipeline.planning.report import Report


def report(*overrides: str, is_sweep: bool = True) -> Report:
    """The plan of a command with these overrides; Hydra must be initialised."""
    loader = GlobalHydra.instance().hydra.config_loader  # type: ignore[union-attr]
    mode = RunMode.MULTIRUN if is_sweep else RunMode.RUN
    with mock.patch.dict(os.environ):  # a plan goes offline
        return report_of(loader.load_configuration("config", list(overrides), run_mode=mode), is_sweep)


def plan(*overrides: str, is_sweep: bool = True) -> dict[str, Any]:
    """The same as the JSON says it."""
    found: dict[str, Any] = json.loads(report(*overrides, is_sweep=is_sweep).as_json())
    return found


def by_stage(found: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """The artifacts of a plan by their stages."""
    stages: dict[str, list[dict[str, Any]]] = {}
    for artifact in found["artifacts"]:
        stages.setdefault(artifact["stage"], []).append(artifact)
    return stages


def states(found: dict[str, Any]) -> dict[str, str]:
    return {artifact["name"]: artifact["state"] for artifact in found["artifacts"]}


def listing(folder: Path) -> dict[str, tuple[int, int]]:
    """Size and time of everything in a folder, hidden files too."""
    return {str(path.relative_to(folder)): (path.stat().st_size, path.stat().st_mtime_ns) for path in folder.rglob("*")}


def artifacts_with_corpus(root: Path) -> Path:
    """A folder of artifacts with a corpus of real text in it."""
    with building(Artifact(root / "corpora" / "embedded", "prepare_corpus", {}, {})) as work:
        corpus(work.folder)
        work.counts = {"tokens": 2000, "sequences": 100, "heldout_tokens": 200}
    return root
