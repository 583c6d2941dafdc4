"""What is refused before the work starts: devices without a process each, gates of the Hub, files that are not there,
settings of an annotation that mean nothing, too large a budget."""

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from qurating.artifacts.manifest import manifest
from qurating.runtime.errors import StageError
from qurating.runtime.processes import num_processes


def check(config: DictConfig, stages: Sequence[str]) -> None:
    """Refuse what the stages cannot do, before the first of them begins; raises StageError."""
    check_processes(config, stages)
    check_files(config, stages)
    check_annotation(config, stages)
    check_access(config, stages)


def check_processes(config: DictConfig, stages: Sequence[str]) -> None:
    """Refuse several devices without a process for each: Lightning would start them itself, past the locks."""
    devices = config.trainer.devices
    wanted = devices * config.trainer.num_nodes if isinstance(devices, int) else 1
    started = num_processes()
    if any("trainer" in config.stages[stage] for stage in stages) and wanted not in {1, started}:
        raise StageError(
            f"trainer.devices={devices} on {config.trainer.num_nodes} node(s) need {wanted} processes, there are "
            f"{started}: start with `torchrun --nproc-per-node {devices} run.py …`, through hydra/launcher=slurm_gpu, "
            "or with trainer.devices=1"
        )


def check_access(config: DictConfig, stages: Sequence[str]) -> None:
    """Ask whether all that the stages load from the Hub can be had; those whose artifacts are complete load nothing.

    A stage says what it loads under `fetches`: names of `models` and `datasets`, and `files`, of which those that lie
    at the Hub (hf://…) count.

    Raises:
        StageError: with the pages to visit and the variable to set.
    """
    models, datasets = list[str | None](), list[str | None]()
    for stage in stages:
        settings = config.stages[stage]
        complete = Path(config.paths.artifacts, str(config.artifacts[stage]), "manifest.json").is_file()
        # a token of its own opens what the Hub's client cannot see
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
    """Refuse paths and patterns that name no file: those of the settings that a stage's `files` are listed from.

    Raises:
        StageError: with the paths, and whether what was made of the files earlier is still there.
    """
    for stage, group in (("prepare_corpus", "corpus"), ("prepare_target", "target")):
        files = str(config.stages[stage].get("files")) if stage in stages else ""
        if files.startswith("0 files"):
            paths = ", ".join(_listed(config[group].paths))
            made = Path(config.paths.artifacts, str(config.artifacts[stage]))
            still = f" What was made of them is still whole: {made}." if (made / "manifest.json").is_file() else ""
            raise StageError(
                f"no file matches {group}.paths={paths} (looked in {os.getcwd()}).{still} Put the files back, or name "
                "others"
            )


def check_annotation(config: DictConfig, stages: Sequence[str]) -> None:
    """Refuse settings of the annotation that mean nothing, before all that it waits for; raises StageError."""
    made = Path(config.paths.artifacts, str(config.artifacts.annotate_proxy), "manifest.json")
    if "annotate_proxy" in stages and (config.overwrite or not made.is_file()):
        from qurating.lqs import annotation

        annotation.check_settings(**{name: config.stages.annotate_proxy[name] for name in annotation.CHECKED})


def _listed(files: str | Sequence[str] | None) -> list[str]:
    return [files] if isinstance(files, str) else [str(file) for file in files or []]


def _data_set(file: str) -> str | None:
    """The data set that a file of the Hub belongs to: hf://datasets/owner/name@main/a.jsonl -> owner/name."""
    scheme = "hf://datasets/"
    return "/".join(file.removeprefix(scheme).split("/")[:2]).split("@")[0] if file.startswith(scheme) else None


def check_budget(config: DictConfig, corpus: Path) -> None:
    """Refuse a budget beyond the corpus as soon as that is there, not after all that a selection waits for."""
    budget, there = config.selection.num_tokens, manifest(corpus)["counts"].get("tokens")
    if isinstance(budget, int) and isinstance(there, int) and budget > there:
        raise StageError(
            f"{corpus.name} has {there:,} tokens to select from, and num_tokens={budget:,} are asked for: "
            "lower num_tokens, or take a larger corpus"
        )
