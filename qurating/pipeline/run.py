"""From a composed config to artifacts: the stages of one run, in turn."""

import contextlib
import functools
import hashlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from qurating.artifacts import lineage, publishing
from qurating.artifacts.artifact import Artifact
from qurating.artifacts.files import read_json, row_files, write_json
from qurating.artifacts.identity import leaves
from qurating.artifacts.manifest import manifest
from qurating.pipeline import checks, naming, preflight, sharing
from qurating.runtime.errors import StageError
from qurating.runtime.processes import num_processes, rank
from qurating.training import tracking


def run(config: DictConfig) -> None:
    """Run the stages of a config in turn; those whose artifacts are complete are skipped.

    A stage whose artifact has no name is not needed under this config, and left out. `analyse` waits for the end of
    the command (`pipeline.sweep`). Raises StageError for whatever the user can mend.
    """
    hydra = HydraConfig.get()
    names = naming.name_artifacts(hydra.overrides.task)
    checks.check(config, names)
    # what was added to the command line of this run is in the config, too: only names are written into it
    for stage, name in names.items():
        OmegaConf.update(config, f"artifacts.{stage}", name)
    chosen = [stage for stage in lineage.STAGES if stage in config.stages]
    unneeded = [stage for stage in chosen if not names[stage] and stage != lineage.COMPARISON]
    if unneeded:
        print(f"not needed: {', '.join(unneeded)}", flush=True)
    stages = [stage for stage in chosen if names[stage] and stage != lineage.COMPARISON]
    cell = {stage: name for stage, name in names.items() if name}
    preflight.check(config, stages)
    write_json(Path(hydra.runtime.output_dir) / "artifacts.json", cell)
    with contextlib.ExitStack() as opened:
        track = functools.cache(lambda: opened.enter_context(_tracker(config, cell)))
        for number, stage in enumerate(stages, 1):
            folder = run_stage(stage, config, f"[{number}/{len(stages)}]", before=track)
            if stage == lineage.CORPUS and "select" in stages:
                preflight.check_budget(config, folder)


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
    settings: dict[str, Any] = OmegaConf.to_container(config.stages[stage], resolve=True)  # type: ignore[assignment]
    inputs, fetches = settings.pop("inputs"), settings.pop("fetches", None) or {}
    used = {key: name for key, name in leaves(_numbered(inputs)).items() if name}
    names = list(dict.fromkeys(used.values()))
    reads = ", ".join(names) if 0 < len(names) <= 4 else f"{len(names) or 'no'} artifacts"
    artifact_path = root / config.artifacts[stage]
    print(f"{counter} {stage}: reads {reads}; writes {artifact_path}", flush=True)
    made = {key: manifest(root / name) for key, name in used.items()}
    artifact = Artifact(
        path=artifact_path,
        stage=stage,
        inputs={key: f"{name} ({made[key]['fingerprint'][:16]})" for key, name in used.items()},
        runtime=settings.pop("runtime", []),
        settings=settings,
        labels=frozenset().union(*(each["labels"] for each in made.values()), _labels_of(stage, fetches)),
        overwrite=config.overwrite,
    )
    _refuse_other_versions(artifact, {name: made[key] for key, name in used.items()})
    if artifact.is_complete():
        finished = manifest(artifact.path)["finished"]
        print(f"    skipped: complete since {finished} with these settings and inputs", flush=True)
        return artifact.path
    if rank() == 0:
        before()
    share = sharing.share_of(stage, settings, _sweep_folder(), rank(), num_processes())
    given = settings if share is None else settings | {"shard": share.index, "num_shards": share.count}
    if rank() > 0 and share is None:  # the first process builds; in a training the others take part
        if "trainer" in settings and (folder := publishing.begun_by_the_first(artifact)) is not None:
            _call(given, inputs, root, folder)
        publishing.finished_by_the_first(artifact)
        return artifact.path
    # a shard that an artifact is made of shard by shard says itself what it was made of
    shards = row_files(root / inputs["corpus"] / "train") if stage in lineage.SHARED else []
    keep = [f"train/{file.name}" for file in shards]
    with publishing.building(artifact, None if share is None else f"{share.index}_of_{share.count}", keep) as work:
        if work.to_do:
            work.counts = _call(given, inputs, root, work.folder)
    _tell(artifact, work)
    if share is not None and num_processes() > 1 and settings["shard"] is None:
        publishing.finished_by_the_first(artifact)  # the next stage reads it
    return artifact.path


def _call(settings: Mapping[str, Any], inputs: Any, root: Path, output: Path) -> Any:
    """Call the function of a stage."""
    from hydra.utils import get_method, instantiate

    given = instantiate({key: value for key, value in settings.items() if key != "_target_"}, _convert_="all")
    return get_method(settings["_target_"])(output=output, **_paths(inputs, root), **given)


def _tell(artifact: Artifact, work: publishing.Work) -> None:
    """A line about what became of the work."""
    if work.published is not None:
        counts = work.published["counts"]
        shown = ", ".join(f"{key} {_readable(value)}" for key, value in counts.items())
        tracking.summarise(leaves({artifact.stage: counts}))
        warning = "".join(f"; {label}" for label in work.published["labels"])
        print(f"    done in {work.published['seconds']:,} s: {shown}{warning}", flush=True)
    elif artifact.is_complete():
        print("    skipped: another task has built it meanwhile", flush=True)
    else:
        print("    this task's share is done; the artifact is complete once the others are", flush=True)


def _labels_of(stage: str, fetches: Mapping[str, Any]) -> set[str]:
    """The labels of models that are named by their folders, where those are artifacts; a tokenizer carries none."""
    models = [] if stage == lineage.CORPUS else fetches.get("models") or []
    files = [Path(model) / "manifest.json" for model in models if model]
    return {label for file in files if file.is_file() for label in read_json(file).get("labels", [])}


def _refuse_other_versions(artifact: Artifact, made: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse inputs that were made of another version of one of the others, such as ratings of an earlier corpus."""
    versions = {_name(given): given for given in artifact.inputs.values()}
    for name, of_input in made.items():
        for given in of_input["inputs"].values():
            if versions.get(_name(given), given) != given:
                raise StageError(
                    f"{artifact.stage}: {name} was made of {given}, and {versions[_name(given)]} is there now: "
                    f"make {name} anew (add its stage to `stage=[...]`, with overwrite=true)"
                )


def _name(given: str) -> str:
    """Of an input: `<kind>/<name> (<fingerprint>)` without the fingerprint."""
    return given.rsplit(" (", 1)[0]


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
    last = last_stage(config, cell)
    # the stages of one language model share a run, also if they run by and by
    of_a_model = lineage.is_of_a_model(last)
    place = str(Path(config.paths.artifacts).resolve() / cell[lineage.LAST_OF_A_CELL if of_a_model else last])
    return open_run(
        name=cell["select" if of_a_model else last].split("/")[-1],
        run_id=hashlib.blake2b(place.encode(), digest_size=8).hexdigest(),
        folder=config.paths.artifacts,
        settings=OmegaConf.to_container(config, resolve=True),
        tags=[str(stage) for stage in config.stages],
    )


def last_stage(config: DictConfig, cell: Mapping[str, str]) -> str:
    """The stage that a cell ends with: `evaluate`, unless the chosen stages stop before."""
    ends = [stage for stage in lineage.OF_A_CELL if stage in config.stages and stage in cell]
    return ends[-1] if ends else lineage.LAST_OF_A_CELL


def runs_elsewhere() -> bool:
    """Whether this cell was sent to another process or machine by a launcher."""
    return not HydraConfig.get().launcher["_target_"].endswith("BasicLauncher")
