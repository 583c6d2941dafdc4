"""Checks before the work starts: a process per device, access to the Hub, files and target sets that exist, valid
settings of the annotation, tasks that exist, and a budget within the corpus."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, ListConfig, OmegaConf

from qurating.artifacts.manifest import manifest
from qurating.pipeline import sources
from qurating.runtime import hub_data
from qurating.runtime.errors import StageError
from qurating.runtime.processes import num_processes

_POOL = "qurating.selection.rules.pool"


def check(config: DictConfig, stages: Sequence[str]) -> None:
    """Run all checks but that of the budget, before the first stage; raises StageError."""
    check_processes(config, stages)
    check_files(config, stages)
    check_targets(config, stages)
    check_annotation(config, stages)
    check_tasks(config, stages)
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

    The settings that name it are those that a stage lists under `fetches` (`sources.settings`).

    Raises:
        StageError: says which pages to visit and which variable to set.
    """
    models, datasets = list[str | None](), list[str | None]()
    for stage in stages:
        settings = config.stages[stage]
        complete = Path(config.paths.artifacts, str(config.artifacts[stage]), "manifest.json").is_file()
        # the check uses HF_TOKEN, and a stage with its own token may have access where that has none
        own_token = settings.get("token_variable", "HF_TOKEN") != "HF_TOKEN"
        if not own_token and (config.overwrite or not complete):
            models += sources.settings(config, stage, "models").values()
            for data in sources.data_sets(config, stage).values():
                datasets += [data.name, *map(hub_data.data_set_of, data.files)]
    if any(models) or any(datasets):
        from qurating.runtime import hub

        hub.check_access(models, datasets)


def check_files(config: DictConfig, stages: Sequence[str]) -> None:
    """Refuse paths and patterns of files that match no file, for every setting that `fetches` of a stage lists.

    Raises:
        StageError: says which setting, and whether an artifact made from the files earlier still exists.
    """
    for stage in stages:
        for setting, error in sources.missing_files(config, stage).items():
            made = Path(config.paths.artifacts, str(config.artifacts[stage]))
            still = (
                f" The artifact made from them is still complete: {made}." if (made / "manifest.json").is_file() else ""
            )
            raise StageError(f"{setting}: {error}.{still} Put the files back, or name other files")


def check_targets(config: DictConfig, stages: Sequence[str]) -> None:
    """Refuse a target set that neither exists nor is made by these stages: an evaluation would stop for it at the end.

    Raises:
        StageError: says which setting names it.
    """
    made = {config.artifacts[stage] for stage in stages}
    for stage, key, setting in (
        ("weigh_importance", "target", "importance_target"),
        ("evaluate", "excluded", "evaluation_without"),
    ):
        given = config.stages[stage].inputs[key] if stage in stages else None
        for name in given if isinstance(given, list | ListConfig) else [given]:
            if name and name not in made and not Path(config.paths.artifacts, name, "manifest.json").is_file():
                raise StageError(
                    f"{setting}: {Path(config.paths.artifacts, name)} does not exist: make it first, with "
                    "stage=[prepare_corpus,prepare_target] and the settings of its target"
                )


def check_annotation(config: DictConfig, stages: Sequence[str]) -> None:
    """Refuse invalid settings of the annotation before the stages that it needs run; raises StageError."""
    made = Path(config.paths.artifacts, str(config.artifacts.annotate_proxy), "manifest.json")
    if "annotate_proxy" in stages and (config.overwrite or not made.is_file()):
        from qurating.lqs import annotation

        annotation.check_settings(**{name: config.stages.annotate_proxy[name] for name in annotation.CHECKED})


def check_tasks(config: DictConfig, stages: Sequence[str]) -> None:
    """Refuse tasks that do not exist, and a machine without lm-eval, before the model is trained; raises StageError."""
    made = Path(config.paths.artifacts, str(config.artifacts.evaluate_tasks), "manifest.json")
    # alone, the stage says it at once
    if "evaluate_tasks" in stages and len(stages) > 1 and (config.overwrite or not made.is_file()):
        from qurating.evaluation import harness_tasks

        given: Any = OmegaConf.to_container(config.stages.evaluate_tasks, resolve=True)
        folder = given["include_path"]
        harness_tasks.check(given["tasks"], None if folder is None else Path(folder).expanduser())


def check_corpus(config: DictConfig, stages: Sequence[str], corpus: Path) -> None:
    """Check what the stages want of a corpus as soon as it is complete; raises StageError."""
    if "select" in stages:
        check_budget(config, corpus)
    if "evaluate" in stages:
        from qurating.evaluation import parts

        given: Any = OmegaConf.to_container(config.evaluation, resolve=True)
        parts.check(corpus, given["domains"], given["documents"], given["sets"])


def check_budget(config: DictConfig, corpus: Path) -> None:
    """Refuse a budget larger than the corpus, or than the pool that it is drawn from; raises StageError."""
    budget, available = config.selection.num_tokens, manifest(corpus)["counts"].get("tokens")
    if isinstance(budget, int) and isinstance(available, int) and budget > available:
        raise StageError(
            f"{corpus.name} has only {available:,} tokens to select num_tokens={budget:,} from: "
            "lower num_tokens, or use a larger corpus"
        )
    if isinstance(budget, int) and isinstance(available, int) and str(config.selection.rule["_target_"]) == _POOL:
        from qurating.selection.budgets import pool_tokens

        try:
            pool_tokens(config.selection.rule.fraction, available, budget)
        except ValueError as error:
            raise StageError(f"{corpus.name}: {error} (selection.fraction, num_tokens)") from error
