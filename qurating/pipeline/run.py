"""From a composed config to artifacts: run the stages of one cell in order."""

import contextlib
import dataclasses
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from qurating.artifacts import lineage, publishing
from qurating.artifacts.ancestry import Ancestry
from qurating.artifacts.artifact import Artifact
from qurating.artifacts.files import read_json, row_files, write_json
from qurating.artifacts.identity import leaves
from qurating.artifacts.integrity import check_content
from qurating.artifacts.manifest import manifest, reference, referenced_name
from qurating.pipeline import checks, naming, preflight, sharing, sources
from qurating.pipeline.cells import state
from qurating.pipeline.resolvers import EVERY, IF_COMPLETE
from qurating.runtime.errors import StageError
from qurating.runtime.processes import num_processes, rank
from qurating.training import tracking
from qurating.training.redaction import redacted

_TAGS = ("experiment", "scale", "corpus", "criterion", "selection", "ordering", "model")  # groups whose choice is a tag


def run(config: DictConfig) -> None:
    """Run the chosen stages of a config in order, except those whose artifacts are complete.

    A stage whose artifact has no name is not needed with this config, and is left out. `analyse` runs at the end of
    the command (`pipeline.sweep`). Raises StageError for errors that the user can fix.
    """
    hydra = HydraConfig.get()
    number = None if OmegaConf.is_missing(hydra.job, "num") else hydra.job.num  # missing without a sweep
    sweep = None if number is None else Path(hydra.sweep.dir)
    with state.recorded(Path(hydra.runtime.output_dir) / state.STATE, hydra.overrides.task, number, sweep) as recorder:
        _run_stages(config, recorder)


def _run_stages(config: DictConfig, recorder: state.Recorder) -> None:
    hydra = HydraConfig.get()
    cell, stages, unneeded = settle(config, hydra.overrides.task)
    if unneeded:
        print(f"not needed: {', '.join(unneeded)}", flush=True)
    recorder.will_run({stage: cell[stage] for stage in stages}, Path(config.paths.artifacts))
    preflight.check(config, stages)
    write_json(Path(hydra.runtime.output_dir) / "artifacts.json", made_or_read(config, stages, cell))
    with tracked(config, *_tracked_as(config, cell)) if stages else contextlib.nullcontext():
        for number, stage in enumerate(stages, 1):
            recorder.begins(stage)
            folder = run_stage(stage, config, f"[{number}/{len(stages)}]")
            if stage == lineage.CORPUS:
                preflight.check_corpus(config, stages, folder)


def settle(
    config: DictConfig, overrides: Sequence[str], memory: dict[Any, bytes] | None = None
) -> tuple[dict[str, str], list[str], list[str]]:
    """Name the artifacts of a cell in its config, and check it.

    Args:
        config: composed with the overrides; gets final names in `artifacts`.
        overrides: of this cell.
        memory: of `naming.name_artifacts`.

    Returns:
        the name of each artifact by stage; the chosen stages in order; those that are not needed with this config.
    """
    names = naming.name_artifacts(overrides, memory)
    checks.check(config, names)
    # `config` already has the overrides of this run; only the names are new
    for stage, name in names.items():
        OmegaConf.update(config, f"artifacts.{stage}", name)
    chosen = [stage for stage in lineage.CELL_STAGES if stage in config.stages]
    needed = [stage for stage in chosen if names[stage]]
    return {stage: name for stage, name in names.items() if name}, needed, [s for s in chosen if s not in needed]


def made_or_read(config: DictConfig, stages: Sequence[str], cell: Mapping[str, str]) -> dict[str, str]:
    """The artifacts that these stages make, those that they read, and all that those were made from.

    With `analyse`, also those of the last stage of the cell, which may be complete already.

    Args:
        config: composed, with final names in `artifacts`.
        cell: the names of all artifacts by stage, whether they exist or not.
    """
    root = Path(config.paths.artifacts)
    reads = {cell[stage]: list(read_by(config, stage).values()) for stage in stages}
    waiting, found = list(reads), set[str]()
    if lineage.COMPARISON in config.stages:
        waiting.append(cell[last_stage(config, cell)])
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += reads[name] if name in reads else _made_from(root / name)
    return {stage: name for stage, name in cell.items() if name in found}


def _made_from(artifact: Path) -> list[str]:
    """The names of the artifacts that one was made from; none if it does not exist, or its manifest is damaged."""
    with contextlib.suppress(FileNotFoundError, StageError):
        return [referenced_name(given) for given in read_json(artifact / "manifest.json")["inputs"].values()]
    return []


def read_by(config: DictConfig, stage: str) -> dict[str, str]:
    """The names of the artifacts that a stage reads, by the dotted key of the input."""
    return {key: name for key, name in leaves(_numbered(_inputs(config, stage))).items() if name}


def _inputs(config: DictConfig, stage: str, left_out: dict[str, str] | None = None) -> Any:
    """The names of the artifacts that a stage reads, nested as configured: those of `if_complete` and `every` as they
    are there now.

    Args:
        left_out: gets the artifacts that `every` leaves out, with the reason (`Ancestry.made_of`).
    """
    ancestry = Ancestry(Path(config.paths.artifacts))

    def there(given: Any) -> Any:
        if isinstance(given, Mapping):
            return {key: there(value) for key, value in given.items()}
        if isinstance(given, list):
            found = [there(value) for value in given]
            return [name for each in found for name in (each if isinstance(each, list) else [each]) if name]
        if isinstance(given, str) and given.startswith(EVERY):
            of_stage, _, name = given.removeprefix(EVERY).partition(" of ")
            names, stale = ancestry.made_of(name, of_stage)
            (left_out if left_out is not None else {}).update(stale)
            return names
        if isinstance(given, str) and given.endswith(IF_COMPLETE):
            name = given.removesuffix(IF_COMPLETE)
            return name if (ancestry.root / name / "manifest.json").is_file() else None
        return given

    return there(OmegaConf.to_container(config.stages[stage].inputs, resolve=True))


def run_stage(stage: str, config: DictConfig, counter: str) -> Path:
    """Build the artifact of a stage unless it is complete, and print which of both.

    Args:
        config: composed, with final names in `artifacts`.
        counter: the beginning of the line that announces the stage.

    Returns:
        the folder of the artifact.
    """
    root = Path(config.paths.artifacts)
    left_out: dict[str, str] = {}
    # from here on the same names, whatever is completed meanwhile
    OmegaConf.update(config, f"stages.{stage}.inputs", _inputs(config, stage, left_out), merge=False)
    names = list(dict.fromkeys(read_by(config, stage).values()))
    shown = ", ".join(names) if 0 < len(names) <= 4 else f"{len(names) or 'no'} artifacts"
    print(f"{counter} {stage}: reads {shown}; writes {root / config.artifacts[stage]}", flush=True)
    for reason in dict.fromkeys(left_out.values()):
        first, *more = (name for name, given in left_out.items() if given == reason)
        print(f"    left out: {first}{f' and {len(more)} more' if more else ''} ({reason.split(';')[0]})", flush=True)
    artifact = requested(stage, config, {name: manifest(root / name) for name in names})
    settings = dict(artifact.settings)
    inputs = _inputs(config, stage)
    if artifact.is_complete():
        publishing.remove_rest(artifact.path)
        finished = manifest(artifact.path)["finished"]
        print(f"    skipped: complete since {finished} with these settings and inputs", flush=True)
        for setting, reason in artifact.uncompared().items():
            print(f"    counted as unchanged, not compared: {setting} ({reason})", flush=True)
        _show(artifact, is_made=False)
        return artifact.path
    tracking.begin(stage, artifact.identity)
    share = sharing.share_of(stage, settings, _sweep_folder(), rank(), num_processes())
    given = settings if share is None else settings | {"shard": share.index, "num_shards": share.count}
    if rank() > 0 and share is None:  # the first process builds; the others only take part in a training
        if "trainer" in settings and (folder := publishing.wait_until_started(artifact)) is not None:
            _call(given, inputs, root, folder)
        publishing.wait_until_published(artifact)
        return artifact.path
    # each output shard of these stages records what it was made from: the stage itself knows which can be reused
    shards = row_files(root / inputs["corpus"] / "train") if stage in lineage.SHAREABLE else []
    reusable = [f"train/{file.name}" for file in shards]
    with publishing.building(artifact, None if share is None else f"{share.index}_of_{share.count}", reusable) as work:
        if work.to_do:
            for folder in [*(root / name for name in names), *sources.artifacts(config, stage)]:
                check_content(folder, manifest(folder), artifact.max_compared_bytes)
            work.counts = _call(given, inputs, root, work.folder)
    _print_outcome(artifact, work)
    if share is not None and num_processes() > 1 and settings["shard"] is None:
        publishing.wait_until_published(artifact)  # the next stage reads it
    return artifact.path


def requested(stage: str, config: DictConfig, manifests: Mapping[str, Mapping[str, Any]]) -> Artifact:
    """The artifact that a stage has to make with this config.

    Args:
        config: composed, with final names in `artifacts`.
        manifests: of the artifacts that the stage reads, by name.

    Raises:
        StageError: an input was made from another version of a second input.
    """
    settings: dict[str, Any] = OmegaConf.to_container(config.stages[stage], resolve=True)  # type: ignore[assignment]
    runtime = settings.get("runtime", [])
    artifact = Artifact(
        path=Path(config.paths.artifacts) / config.artifacts[stage],
        stage=stage,
        inputs={key: reference(name, manifests[name]) for key, name in read_by(config, stage).items()},
        runtime=runtime,
        settings={key: given for key, given in settings.items() if key not in ("inputs", "fetches", "runtime")},
        sources=sources.fingerprints(config, stage),
        labels=frozenset().union(*(each["labels"] for each in manifests.values()), _labels_of(stage, config)),
        overwrite=config.overwrite,
        max_compared_bytes=config.verify_gigabytes * 1e9,
    )
    _refuse_other_versions(artifact, manifests)
    if stage == "judge" and rank() == 0 and _retries_failed(settings, artifact.path):
        return dataclasses.replace(artifact, redo=True)
    return artifact


def _retries_failed(settings: Mapping[str, Any], judgments: Path) -> bool:
    """Whether failed requests of published judgments are asked again; raises StageError if their answers are gone."""
    if not settings["judge"].get("retry_failed") or not (judgments / "manifest.json").is_file():
        return False
    counts = manifest(judgments)["counts"]
    if not counts.get("failed_requests"):
        return False
    why = ""
    if "found_again" not in counts and not settings["judge"].get("simulated"):
        why = f"{judgments} was made by an earlier version of qurating, which drew other pairs"
    elif "found_again" in counts and not any(Path(settings["responses"]).glob("*.jsonl")):
        why = f"{settings['responses']} has no response log any more"
    if why:
        raise StageError(
            f"judge.retry_failed: {why}. To ask all requests again, set another name: artifacts.judge=judgments/NAME"
        )
    return True


def _call(settings: Mapping[str, Any], inputs: Any, root: Path, output: Path) -> Any:
    """Call the function of a stage, with its settings instantiated; returns the counts."""
    from hydra.utils import get_method, instantiate

    given = instantiate({key: value for key, value in settings.items() if key != "_target_"}, _convert_="all")
    return get_method(settings["_target_"])(output=output, **_paths(inputs, root), **given)


def _print_outcome(artifact: Artifact, work: publishing.Work) -> None:
    """Print one line on the outcome, and show the artifact in the tracker."""
    if work.published is not None:
        counts = work.published["counts"]
        shown = ", ".join(f"{key} {_readable(value)}" for key, value in counts.items())
        warning = "".join(f"; {label}" for label in work.published["labels"])
        print(f"    done in {work.published['seconds']:,} s: {shown}{warning}", flush=True)
        _show(artifact, is_made=True)
    elif artifact.is_complete():
        print("    skipped: another task has built it in the meantime", flush=True)
        _show(artifact, is_made=False)
    else:
        print("    done with the share of this task; the last task completes the artifact", flush=True)


def _show(artifact: Artifact, is_made: bool) -> None:
    """Show a complete artifact in the open tracker, if any."""
    if tracking.is_open():
        from qurating.reports import tracked as reader

        source = reader.source(artifact.path)
        tracking.show(source, lambda: reader.shown(artifact.path), is_made)


def _labels_of(stage: str, config: DictConfig) -> set[str]:
    """The labels of the models that a stage loads, if they are folders of artifacts; a tokenizer has no labels."""
    models = {} if stage == lineage.CORPUS else sources.settings(config, stage, "models")
    files = [Path(model).expanduser() / "manifest.json" for model in models.values()]
    return {label for file in files if file.is_file() for label in read_json(file).get("labels", [])}


def _refuse_other_versions(artifact: Artifact, manifests: Mapping[str, Mapping[str, Any]]) -> None:
    """Refuse an input made from another version of a second input, such as ratings of an earlier corpus."""
    current = {referenced_name(given): given for given in artifact.inputs.values()}
    for name, found in manifests.items():
        for given in found["inputs"].values():
            now = current.get(referenced_name(given), given)
            if now != given:
                raise StageError(
                    f"{artifact.stage}: {name} was made from {given}, which is now {now}: "
                    f"make {name} again (add its stage to `stage=[...]`, with overwrite=true)"
                )


def _sweep_folder() -> Path:
    return Path(HydraConfig.get().sweep.dir) if HydraConfig.initialized() else Path()


def _numbered(inputs: Any) -> Any:
    """Nested inputs with each list as a mapping, so that each leaf has a dotted key."""
    if isinstance(inputs, Mapping):
        return {str(key): _numbered(value) for key, value in inputs.items()}
    return {str(i): _numbered(value) for i, value in enumerate(inputs)} if isinstance(inputs, list) else inputs


def _paths(inputs: Any, root: Path) -> Any:
    """Nested inputs with each name of an artifact replaced by its folder."""
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


def tracked(config: DictConfig, name: str, last: str) -> contextlib.AbstractContextManager[None]:
    """The run of a cell, or of a comparison, in the tracker; only the first process has one.

    Args:
        name: that people see.
        last: the artifact that the run ends with: runs of the same artifact are one run.
    """
    from hydra.utils import instantiate

    if rank() > 0:
        return contextlib.nullcontext()
    raw: Any = OmegaConf.to_container(config)
    settings: Any = OmegaConf.to_container(
        OmegaConf.masked_copy(config, [key for key in raw if key != "hydra"]), resolve=True
    )
    choices = HydraConfig.get().runtime.choices if HydraConfig.initialized() else {}
    told = redacted({**settings, "name_of_run": name}, raw)
    run: contextlib.AbstractContextManager[None] = instantiate(settings["logger"])(
        name=told.pop("name_of_run"),
        run_id=hashlib.blake2b(str(Path(config.paths.artifacts).resolve() / last).encode(), digest_size=8).hexdigest(),
        folder=config.paths.artifacts,
        settings=told,
        tags=[*config.stages, *(f"{group}={choices[group]}" for group in _TAGS if choices.get(group))],
    )
    return run


def _tracked_as(config: DictConfig, cell: Mapping[str, str]) -> tuple[str, str]:
    """The name of a cell in the tracker, and the artifact that its run ends with."""
    last = last_stage(config, cell)
    # the stages of one language model share a run, even if separate commands run them
    is_after_selection = last != lineage.OF_CORPUS and lineage.depends_on_selection(last)
    end = cell[lineage.LAST_CELL_STAGE if is_after_selection else last]
    return end.split("/")[-1], end


def last_stage(config: DictConfig, cell: Mapping[str, str]) -> str:
    """The last chosen stage that a cell has, `analyse_ratings` only if it is alone; `evaluate` if it has none."""
    chosen = [stage for stage in lineage.CELL_STAGES if stage in config.stages and stage in cell]
    own = [stage for stage in chosen if stage != lineage.OF_CORPUS]
    return (own or chosen or [lineage.LAST_CELL_STAGE])[-1]
