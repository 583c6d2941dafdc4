"""From a composed config to artifacts: the stages of one run, and what a sweep does at its start and end."""

import contextlib
import functools
import hashlib
import os
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra._internal.config_repository import ConfigRepository
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from qurating.artifacts import files as artifacts_files
from qurating.artifacts import identity as artifacts_identity
from qurating.artifacts import manifest, publishing
from qurating.artifacts.files import read_json, write_json
from qurating.pipeline import configuration, naming, preflight, sharing
from qurating.runtime.errors import StageError
from qurating.training import tracking


def run(config: DictConfig) -> None:
    """Run the stages of a config in turn; those whose artifacts are complete are skipped.

    A stage whose artifact has no name is not needed under this config, and left out. In a sweep, `analyse` waits for
    the end. Raises StageError for whatever the user can mend.
    """
    hydra = HydraConfig.get()
    names = naming.name_artifacts(hydra.overrides.task)
    configuration.check(config, names)
    # what was added to the command line of this run is in the config, too: only names are written into it
    for stage, name in names.items():
        OmegaConf.update(config, f"artifacts.{stage}", name)
    chosen = [stage for stage in naming.STAGES if stage in config.stages]
    stages = [stage for stage in chosen if names[stage] or stage == "analyse"]
    if len(stages) < len(chosen):
        print(f"not needed: {', '.join(stage for stage in chosen if stage not in stages)}", flush=True)
    cell = {stage: name for stage, name in names.items() if name}
    preflight.check_processes(config, stages)
    preflight.check_files(config, stages)
    preflight.check_annotation(config, stages)
    preflight.check_access(config, stages)
    write_json(Path(hydra.runtime.output_dir) / "artifacts.json", cell)
    alone = hydra.mode != RunMode.MULTIRUN
    analyse_now = alone and "analyse" in stages
    stages = [stage for stage in stages if stage != "analyse"]
    with contextlib.ExitStack() as opened:
        track = functools.cache(lambda: opened.enter_context(_tracker(config, cell)))
        for number, stage in enumerate(stages, 1):
            folder = run_stage(stage, config, f"[{number}/{len(stages)}]", before=track)
            if stage == "prepare_corpus" and "select" in stages:
                preflight.check_budget(config, folder)
    if analyse_now and process() == 0:
        _analyse([cell], config)


def run_stage(stage: str, config: DictConfig, counter: str, before: Callable[[], Any] = lambda: None) -> Path:
    """Build the artifact of a stage, unless it is complete; says which.

    Args:
        config: composed, with final names in `artifacts`.
        counter: put before the line that announces the stage.
        before: called if, and just before, the stage has to run.

    Returns:
        the artifact's folder.
    """
    root = Path(config.paths.artifacts)
    target = root / config.artifacts[stage]
    settings: dict[str, Any] = OmegaConf.to_container(config.stages[stage], resolve=True)  # type: ignore[assignment]
    inputs = settings.pop("inputs")
    fetched = settings.pop("fetches", None) or {}
    used = {key: name for key, name in artifacts_identity.leaves(_numbered(inputs)).items() if name}
    identity = {
        "stage": stage,
        "inputs": {},
        "config": artifacts_identity.plain(artifacts_identity.without_runtime(settings)),
    }
    names = list(dict.fromkeys(used.values()))
    reads = ", ".join(names) if 0 < len(names) <= 4 else f"{len(names) or 'no'} artifacts"
    print(f"{counter} {stage}: reads {reads}; writes {target}", flush=True)
    labels: set[str] = set()
    made_of: dict[str, str] = {}
    for key, name in used.items():
        made = manifest.manifest(root / name)
        identity["inputs"][key] = f"{name} ({made['fingerprint'][:16]})"
        labels.update(made["labels"])
        made_of |= dict.fromkeys(made["inputs"].values(), name)
    if stage != "prepare_corpus":  # a tokenizer carries no label
        labels.update(_labels_of(fetched.get("models") or []))
    _same_ancestors(stage, set(identity["inputs"].values()), made_of)
    if manifest.up_to_date(target, identity, config.overwrite):
        made = manifest.manifest(target)
        print(f"    skipped: complete since {made['finished']} with these settings and inputs", flush=True)
        return target
    if process() == 0:
        before()

    share = sharing.share_of(stage, settings, _sweep_folder(), process(), num_processes())
    if share is not None:
        settings |= {"shard": share.index, "num_shards": share.count}

    def build(output: Path) -> Any:
        from hydra.utils import instantiate

        function = instantiate({"_target_": "hydra.utils.get_method", "path": settings["_target_"]})
        given = instantiate({key: value for key, value in settings.items() if key != "_target_"}, _convert_="all")
        return function(output=output, **_paths(inputs, root), **given)

    if process() > 0 and share is None:
        publishing.follow(target, identity, build if "trainer" in settings else None)
        return target
    name = None if share is None else f"{share.index}_of_{share.count}"
    # a shard that an artifact is made of shard by shard says itself what it was made of
    shards = artifacts_files.row_files(root / inputs["corpus"] / "train") if "shard" in settings else []
    keep = [f"train/{file.name}" for file in shards]
    published = publishing.publish(target, identity, settings, sorted(labels), config.overwrite, build, name, keep)
    if published is None and not manifest.up_to_date(target, identity, overwrite=True):
        print("    this task's share is done; the artifact is complete once the others are", flush=True)
        if num_processes() > 1 and config.stages[stage].shard is None:
            publishing.follow(target, identity, None)  # the next stage reads it
    elif published is None:
        print("    skipped: another task has built it meanwhile", flush=True)
    else:
        shown = ", ".join(f"{key} {_readable(value)}" for key, value in published["counts"].items())
        tracking.summarise(artifacts_identity.leaves({stage: published["counts"]}))
        warning = "".join(f"; {label}" for label in published["labels"])
        print(f"    done in {published['seconds']:,} s: {shown}{warning}", flush=True)
    return target


def _labels_of(models: Sequence[str | None]) -> set[str]:
    """The labels of models that are named by their folders, where those are artifacts."""
    files = [Path(model) / "manifest.json" for model in models if model]
    return {label for file in files if file.is_file() for label in artifacts_files.read_json(file).get("labels", [])}


def _same_ancestors(stage: str, used: set[str], made_of: Mapping[str, str]) -> None:
    """Refuse inputs that were made of another version of one of the others, such as ratings of an earlier corpus."""
    versions = {given.rsplit(" (", 1)[0]: given for given in used}
    for given, name in made_of.items():
        ancestor = given.rsplit(" (", 1)[0]
        if versions.get(ancestor, given) != given:
            raise StageError(
                f"{stage}: {name} was made of {given}, and {versions[ancestor]} is there now: "
                f"make {name} anew (add its stage to `stage=[...]`, with overwrite=true)"
            )


def process() -> int:
    """The rank of this process in a distributed run (torchrun, or a SLURM job with a task a device); else 0."""
    return int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or 0)


def num_processes() -> int:
    """Of a distributed run; else 1."""
    return int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or 1)


def _sweep_folder() -> Path:
    return Path(HydraConfig.get().sweep.dir) if HydraConfig.initialized() else Path()


def _numbered(inputs: Any) -> Any:
    """Nested inputs with lists as mappings, so that each leaf has a dotted key."""
    if isinstance(inputs, Mapping):
        return {str(key): _numbered(value) for key, value in inputs.items()}
    return {str(i): _numbered(value) for i, value in enumerate(inputs)} if isinstance(inputs, list) else inputs


def _paths(inputs: Any, root: Path) -> Any:
    """Nested names of artifacts as their folders."""
    if isinstance(inputs, Mapping):
        return {key: _paths(value, root) for key, value in inputs.items()}
    if isinstance(inputs, list):
        return [_paths(value, root) for value in inputs]
    return None if inputs is None else root / inputs


def _readable(value: Any) -> str:
    if isinstance(value, Mapping):
        return "(" + ", ".join(f"{key} {_readable(item)}" for key, item in value.items()) + ")"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return f"{value:,}" if isinstance(value, int) else f"{value:.3f}" if isinstance(value, float) else str(value)


def _tracker(config: DictConfig, cell: Mapping[str, str]) -> Any:
    """The context of the cell's run in the tracker."""
    from hydra.utils import instantiate

    open_run = instantiate(OmegaConf.to_container(config.logger, resolve=True))
    last = _last(config, cell)
    # the stages of one language model share a run, also if they run by and by
    selects = naming.STAGES.index(last) >= naming.STAGES.index("select")
    place = str(Path(config.paths.artifacts).resolve() / cell["evaluate" if selects else last])
    return open_run(
        name=cell["select" if selects else last].split("/")[-1],
        run_id=hashlib.blake2b(place.encode(), digest_size=8).hexdigest(),
        folder=config.paths.artifacts,
        settings=OmegaConf.to_container(config, resolve=True),
        tags=[str(stage) for stage in config.stages],
    )


def _last(config: DictConfig, cell: Mapping[str, str]) -> str:
    """The stage that a cell ends with: `evaluate`, unless the chosen stages stop before."""
    ends = [stage for stage in naming.STAGES if stage in config.stages and stage in cell and stage != "analyse"]
    return ends[-1] if ends else "evaluate"


def _used(cell: Mapping[str, str], last: str, root: Path) -> dict[str, str]:
    """The artifacts of a cell that its last goes back to: a uniform selection, say, reads no ratings."""
    found, waiting = set(), [cell[last]]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [given.rsplit(" (", 1)[0] for given in manifest.manifest(root / name)["inputs"].values()]
    return {stage: name for stage, name in cell.items() if name in found}


def runs_elsewhere() -> bool:
    """Whether this cell was sent to another process or machine by a launcher."""
    return not HydraConfig.get().launcher["_target_"].endswith("BasicLauncher")


def _analyse(cells: list[dict[str, str]], config: DictConfig) -> None:
    """Compare cells, then print their table and where the report is."""
    from qurating.reports.table import format_table

    last = _last(config, cells[0])
    cells = [_used(cell, last, Path(config.paths.artifacts)) for cell in cells]
    names = sorted({cell[last] for cell in cells})
    if not config.artifacts.analyse:
        digest = hashlib.blake2b("\n".join(names).encode(), digest_size=4).hexdigest()
        OmegaConf.update(config, "artifacts.analyse", f"analyses/{len(cells)}_cells-{digest}")
    OmegaConf.update(config, "stages.analyse.inputs.cells", cells, force_add=True)
    folder = run_stage("analyse", config, "[end of sweep]" if len(cells) > 1 else "[last]")
    print(f"\n{format_table(read_json(folder / 'table.json'))}\n\nReport: {(folder / 'report.html').resolve()}")


def _tell_what_is_complete(cells: list[dict[str, str]], config: DictConfig) -> None:
    """Of the artifacts of the chosen stages: tasks that ran elsewhere have told their logs alone."""
    for name in dict.fromkeys(cell[stage] for cell in cells for stage in config.stages if stage in cell):
        there = (Path(config.paths.artifacts) / name / "manifest.json").is_file()
        state = "complete" if there else "not complete yet: the tasks' logs say why; the same command goes on"
        print(f"{name}: {state}", flush=True)


class Sweep(Callback):
    """A multirun: its config is frozen when it starts, its cells are compared when all have finished."""

    failed = False  # Hydra turns what a callback raises into a warning; run.py turns this into the exit status

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Copy conf/ into the sweep's folder and compose from the copy: jobs that wait do not see later edits.

        Where nothing is selected, the experiment's sweep over selections and orderings is left out.
        """
        loader: Any = GlobalHydra.instance().hydra.config_loader  # type: ignore[union-attr]
        frozen = Path(config.hydra.sweep.dir).resolve() / "conf"
        for element in loader.config_search_path.get_path():
            if element.provider == "main":
                shutil.copytree(element.path.removeprefix("file://"), frozen, dirs_exist_ok=True)
                element.path = f"file://{frozen}"
        loader.repository = ConfigRepository(config_search_path=loader.config_search_path)
        if not set(naming.STAGES[naming.STAGES.index("select") :]) & set(config.stages):
            # what an experiment sweeps would only repeat what is done before selecting
            with read_write(config), open_dict(config):
                for group in {"selection", "ordering"} & set(config.hydra.sweeper.params or {}):
                    del config.hydra.sweeper.params[group]

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        if process() > 0:
            return
        files = sorted(Path(config.hydra.sweep.dir).glob("*/artifacts.json"), key=lambda f: int(f.parent.name))
        cells = [read_json(file) for file in files]
        if "analyse" not in config.stages:
            _tell_what_is_complete(cells, config)
            return
        try:
            _analyse(cells, config)
        except StageError as error:
            Sweep.failed = True
            print(f"\nError: {error}", flush=True)
        except Exception:
            Sweep.failed = True
            raise
