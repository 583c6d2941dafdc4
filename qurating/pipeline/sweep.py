"""Before and after the cells of a command: freezing the config, and comparing the cells."""

import hashlib
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.core.hydra_config import HydraConfig
from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from qurating.artifacts import lineage
from qurating.artifacts.files import read_json
from qurating.artifacts.manifest import manifest, referenced_name
from qurating.pipeline import hydra_internals, overrides
from qurating.pipeline.cells import failures, state, submission
from qurating.pipeline.cells.launchers import distinct
from qurating.pipeline.run import last_stage, run_stage, tracked
from qurating.runtime.errors import StageError
from qurating.runtime.processes import rank

if TYPE_CHECKING:
    from qurating.evaluation.runs import Run

_Failed = tuple[int, str, str]  # a cell that failed: its number, the overrides that tell it from others, the reason


class Sweep(Callback):
    """Hydra's callback of every command; a run without a sweep is a sweep of one cell."""

    failed = False  # Hydra turns an error in a callback into a warning; run.py turns this into the exit status

    def __reduce__(self) -> Any:
        # the process of a launcher unpickles this before it composes its cell, and never imports run.py
        return _in_another_process, ()

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        _tell_what_is_left_out(config, [config])

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Copy conf/ into the folder of the sweep and compose from the copy: waiting jobs do not see later edits.

        If no chosen stage depends on the selection, the experiment's own sweep over selections, orderings and
        replicates is removed: it would only repeat the same cell.
        """
        failures.forget(Path(config.hydra.sweep.dir))
        hydra_internals.compose_from_copy(Path(config.hydra.sweep.dir).resolve() / "conf")
        drop_repetitions(config)
        if _is_basic(config):
            _tell_what_is_left_out(config, hydra_internals.cells(config))
        state.begin_sweep(
            Path(config.hydra.sweep.dir),
            hydra_internals.overrides_of_cells(config) if _is_basic(config) else None,
            launcher=str(config.hydra.launcher._target_).rsplit(".", 1)[-1],
            detached=submission.is_detached(config),
            compares=lineage.COMPARISON in config.stages,
        )

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """In the process of a cell: record its failure, and let the other cells go on.

        Hydra's sweeper raises the error of the first cell whose status is FAILED, and then nothing is compared.
        """
        if job_return.status == JobStatus.FAILED and is_sweep():
            cell = Path(config.hydra.runtime.output_dir)
            job_return.return_value = failures.record_error(cell, hydra_internals.error_of(job_return))
            job_return.status = JobStatus.COMPLETED

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        if submission.is_detached(config):
            return  # a job calls this after the cells
        folder = Path(config.hydra.sweep.dir)
        files = {int(file.parent.name): file for file in folder.glob("*/artifacts.json")}
        failed = failures.find(folder)
        complete = [files[number] for number in sorted(files) if number not in failed]
        Sweep.failed |= bool(failed)
        known = distinct(hydra_internals.overrides_of_cells(config)) if failed and _is_basic(config) else []
        choices = dict(enumerate(known))
        without = [(number, " ".join(choices.get(number, ())), failed[number].reason) for number in sorted(failed)]
        try:
            if complete:
                self._end(config, complete, folder / state.COMPARISON, without)
        finally:
            if failed and rank() == 0:
                print(f"\n{failures.told(failed, len({*files, *failed}), choices)}", flush=True)

    def on_run_end(self, config: DictConfig, **given: Any) -> None:
        if given["job_return"].status == JobStatus.COMPLETED and lineage.COMPARISON in config.stages:
            folder = Path(config.hydra.run.dir)
            self._end(config, [folder / "artifacts.json"], folder / state.COMPARISON)

    def _end(self, config: DictConfig, files: list[Path], record: Path, failed: Sequence[_Failed] = ()) -> None:
        if rank() > 0:
            return
        cells = [read_json(file) for file in files]
        if lineage.COMPARISON not in config.stages:
            _print_states(cells, config)
            return
        try:
            with state.recorded(record, sweep=record.parent):
                _compare(cells, config, failed)
        except StageError as error:
            Sweep.failed = True
            print(f"\nError: {error}", flush=True)
        except Exception:
            Sweep.failed = True
            raise


def is_sweep() -> bool:
    """Whether the cell of this process is one of a sweep, wherever it runs."""
    return HydraConfig.get().mode == RunMode.MULTIRUN


def _is_basic(config: DictConfig) -> bool:
    """Whether Hydra's own sweeper expands the sweep: another one may not know all cells beforehand."""
    return str(config.hydra.sweeper._target_).endswith(".BasicSweeper")


def drop_repetitions(config: DictConfig) -> None:
    """Without a stage that depends on the selection, remove the experiment's sweep over what starts there."""
    if any(map(lineage.depends_on_selection, config.stages)):
        return
    with read_write(config), open_dict(config):
        for key in {"selection", "ordering", "replicate"} & (config.hydra.sweeper.params or {}).keys():
            del config.hydra.sweeper.params[key]


def _in_another_process() -> Sweep:
    hydra_internals.leave_out_what_choices_lack()
    return Sweep()


def _tell_what_is_left_out(config: DictConfig, cells: Iterable[DictConfig]) -> None:
    """Print a line for each override that some cells lack; ends the command at one that no cell has."""
    try:
        for line in overrides.left_out(config.hydra.overrides.task, cells):
            print(f"warning: {line}", flush=True)
    except StageError as error:
        print(f"\nError: {error}", file=sys.stderr)
        sys.exit(1)  # Hydra turns any other error in a callback into a warning


def _compare(cells: list[dict[str, str]], config: DictConfig, failed: Sequence[_Failed]) -> None:
    """Run `analyse` on the cells, and print what it found; those that failed have rows in the table of methods."""
    prepare_comparison(cells, config, [choices or f"cell {number}" for number, choices, _ in failed])
    HydraConfig.instance().set_config(config)  # it is over, and the tracker groups by the folder of the sweep
    with tracked(config, "comparison", config.artifacts[lineage.COMPARISON]):
        folder = run_stage(lineage.COMPARISON, config, "[end of sweep]" if len(cells) > 1 else "[last]")
    from qurating.evaluation.runs import Run

    cell = "cell {}".format
    without = [Run(cell(n), "failed", choices or cell(n), problem=reason) for n, choices, reason in failed]
    _print_comparison(folder, Path(config.paths.artifacts), without)


def _print_comparison(folder: Path, root: Path, failed: Sequence["Run"] = ()) -> None:
    """Print the table of methods if some have several seeds, otherwise that of the cells, and the path of the report.

    The table of methods is also written to `<root>/results/<name of the comparison>`, with rows for what failed.
    """
    from qurating.evaluation.methods import without_result
    from qurating.evaluation.runs import COMPLETE
    from qurating.reports import answer, results
    from qurating.reports.table import format_table

    methods = read_json(folder / "answer.json")
    shown = (
        answer.markdown(methods) if answer.is_one(methods) else format_table(read_json(folder / "table.json")) + "\n"
    )
    print(f"\n{shown}")
    if methods and all(row["state"] != COMPLETE for row in methods):
        why = "; ".join(dict.fromkeys(f"{row['state']}: {', '.join(row['notes'])}" for row in methods))
        print(f"No cell has a result in the table of methods ({why})")
    if methods:
        rows = [*methods, *map(without_result, failed)]
        files = results.write(rows, root / "results" / folder.name, [*results.FORMATS])
        print(f"Results: {', '.join(str(file) for file in files)}")
    print(f"Report: {(folder / 'report.html').resolve()}")


def prepare_comparison(cells: list[dict[str, str]], config: DictConfig, failed: Sequence[str] = ()) -> None:
    """Set the inputs of `analyse` in a config, and its name, which depends on the cells.

    Args:
        failed: what tells the cells apart that failed, and that the page names as missing.

    Raises:
        StageError: the last artifact of a cell does not exist, or is damaged.
    """
    last = last_stage(config, cells[0])
    cells = [_needed(cell, last, Path(config.paths.artifacts)) for cell in cells]
    names = sorted({cell[last] for cell in cells})
    if not config.artifacts[lineage.COMPARISON]:
        digest = hashlib.blake2b("\n".join([*names, *failed]).encode(), digest_size=4).hexdigest()
        OmegaConf.update(config, f"artifacts.{lineage.COMPARISON}", f"analyses/{len(cells)}_cells-{digest}")
    OmegaConf.update(config, f"stages.{lineage.COMPARISON}.inputs.cells", cells, force_add=True)
    OmegaConf.update(config, f"stages.{lineage.COMPARISON}.failed", [*failed] or None)


def _needed(cell: Mapping[str, str], last: str, root: Path) -> dict[str, str]:
    """The artifacts of a cell on which its last one depends: a uniform selection, for example, reads no ratings."""
    found, waiting = set(), [cell[last]]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [referenced_name(given) for given in manifest(root / name)["inputs"].values()]
    return {stage: name for stage, name in cell.items() if name in found}


def _print_states(cells: list[dict[str, str]], config: DictConfig) -> None:
    """Print which artifacts of the chosen stages are complete: tasks on other machines only print to their logs."""
    for name in dict.fromkeys(cell[stage] for cell in cells for stage in config.stages if stage in cell):
        is_complete = (Path(config.paths.artifacts) / name / "manifest.json").is_file()
        state = "complete" if is_complete else "not complete: see the logs of the tasks; the same command continues"
        print(f"{name}: {state}", flush=True)
