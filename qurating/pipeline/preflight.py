"""Checks before the work starts: a process per device, access to the Hub, files that exist, valid settings of the
annotation, and a budget within the corpus."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from qurating.artifacts.manifest import manifest
from qurating.runtime.errors import StageError
from qurating.runtime.processes import num_processes


def check(config: DictConfig, stages: Sequence[str]) -> None:
    """Run all checks but that of the budget, before the first stage; raises StageError."""
    check_processes(config, stages)
    check_files(config, stages)
    check_annotation(config, stages)
    check_access(config, stages)


def check_processes(config: DictConfig, stages: Sequence[str]) -> None:
    """Refuse several devices without one process each: Lightning would start the processes itself, without locks."""
    devices = config.trainer.devices
    wanted = devices * config.trainer.num_nodes if isinstance(devices, int) else 1
    started = num_processes()
    if any("trainer" in config.stages[stage] for stage in stages) and wanted not in {1, started}:
        raise StageError(
            f"trainer.devices={devices} on {config.trainer.num_nodes} node(s) need {wanted} processes, but this run "
            f"has {started}: start it with `torchrun --nproc-per-node {devices} run.py …`, through "
            "hydra/launcher=slurm_gpu, or with trainer.devices=1"
        )


def check_access(config: DictConfig, stages: Sequence[str]) -> None:
    """Check access to everything that the stages load from the Hub; stages with complete artifacts load nothing.

    A stage lists what it loads under `fetches`: the names of `models` and `datasets`, and `files`, of which only those
    on the Hub (hf://…) are checked.

    Raises:
        StageError: says which pages to visit and which variable to set.
    """
    models, datasets = list[str | None](), list[str | None]()
    for stage in stages:
        settings = config.stages[stage]
        complete = Path(config.paths.artifacts, str(config.artifacts[stage]), "manifest.json").is_file()
        # the check uses HF_TOKEN, and a stage with its own token may have access where that has none
        own_token = settings.get("token_variable", "HF_TOKEN") != "HF_TOKEN"
        if "fetches" in settings and not own_token and (config.overwrite or not complete):
            fetches: Any = OmegaConf.to_container(settings.fetches, resolve=True)
            models += fetches.get("models", [])
            datasets += fetches.get("datasets", [])
            datasets += [_data_set(file) for files in fetches.get("files", []) for file in _listed(files)]
    if any(models) or any(datasets):
        from qurating.runtime import hub

        hub.check_access(models, datasets)


def check_files(config: DictConfig, stages: Sequence[str]) -> None:
    """Refuse `corpus.paths` and `target.paths` that match no file.

    Raises:
        StageError: says which paths, and whether an artifact made from the files earlier still exists.
    """
    for stage, group in (("prepare_corpus", "corpus"), ("prepare_target", "target")):
        files = str(config.stages[stage].get("files")) if stage in stages else ""
        if files.startswith("0 files"):
            paths = ", ".join(_listed(config[group].paths))
            made = Path(config.paths.artifacts, str(config.artifacts[stage]))
            still = (
                f" The artifact made from them is still complete: {made}." if (made / "manifest.json").is_file() else ""
            )
            raise StageError(
                f"no file matches {group}.paths={paths} (looked in {os.getcwd()}).{still} Put the files back, or name "
                "other files"
            )


def check_annotation(config: DictConfig, stages: Sequence[str]) -> None:
    """Refuse invalid settings of the annotation before the stages that it needs run; raises StageError."""
    made = Path(config.paths.artifacts, str(config.artifacts.annotate_proxy), "manifest.json")
    if "annotate_proxy" in stages and (config.overwrite or not made.is_file()):
        from qurating.lqs import annotation

        annotation.check_settings(**{name: config.stages.annotate_proxy[name] for name in annotation.CHECKED})


def _listed(files: str | Sequence[str] | None) -> list[str]:
    return [files] if isinstance(files, str) else [str(file) for file in files or []]


def _data_set(file: str) -> str | None:
    """The data set of a file on the Hub: hf://datasets/owner/name@main/a.jsonl -> owner/name."""
    scheme = "hf://datasets/"
    return "/".join(file.removeprefix(scheme).split("/")[:2]).split("@")[0] if file.startswith(scheme) else None


def check_budget(config: DictConfig, corpus: Path) -> None:
    """Refuse a budget larger than the corpus as soon as the corpus is complete; raises StageError."""
    budget, available = config.selection.num_tokens, manifest(corpus)["counts"].get("tokens")
    if isinstance(budget, int) and isinstance(available, int) and budget > available:
        raise StageError(
            f"{corpus.name} has only {available:,} tokens to select num_tokens={budget:,} from: "
            "lower num_tokens, or use a larger corpus"
        )
