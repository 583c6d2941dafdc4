"""Before and after the cells of a command: freezing the config, and comparing the cells."""

import hashlib
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from hydra.core.utils import JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from qurating.artifacts import lineage
from qurating.artifacts.files import read_json
from qurating.artifacts.manifest import manifest, referenced_name
from qurating.pipeline import hydra_internals, overrides
from qurating.pipeline.run import last_stage, run_stage
from qurating.runtime.errors import StageError
from qurating.runtime.processes import rank


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

        If no chosen stage depends on the selection, the config's own sweep over selections and orderings is removed:
        it would only repeat the same cell.
        """
        hydra_internals.compose_from_copy(Path(config.hydra.sweep.dir).resolve() / "conf")
        drop_repetitions(config)
        if str(config.hydra.sweeper._target_).endswith(".BasicSweeper"):
            _tell_what_is_left_out(config, hydra_internals.cells(config))

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        files = sorted(Path(config.hydra.sweep.dir).glob("*/artifacts.json"), key=lambda f: int(f.parent.name))
        self._end(config, files)

    def on_run_end(self, config: DictConfig, **given: Any) -> None:
        if given["job_return"].status == JobStatus.COMPLETED and lineage.COMPARISON in config.stages:
            self._end(config, [Path(config.hydra.run.dir) / "artifacts.json"])

    def _end(self, config: DictConfig, files: list[Path]) -> None:
        if rank() > 0:
            return
        cells = [read_json(file) for file in files]
        if lineage.COMPARISON not in config.stages:
            _print_states(cells, config)
            return
        try:
            _compare(cells, config)
        except StageError as error:
            Sweep.failed = True
            print(f"\nError: {error}", flush=True)
        except Exception:
            Sweep.failed = True
            raise


def drop_repetitions(config: DictConfig) -> None:
    """Remove the config's own sweep over selections and orderings, if no chosen stage depends on the selection."""
    if not any(map(lineage.depends_on_selection, config.stages)):
        with read_write(config), open_dict(config):
            for group in {"selection", "ordering"} & set(config.hydra.sweeper.params or {}):
                del config.hydra.sweeper.params[group]


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


def _compare(cells: list[dict[str, str]], config: DictConfig) -> None:
    """Run `analyse` on the cells, then print the table and the path of the report."""
    from qurating.reports.table import format_table

    prepare_comparison(cells, config)
    folder = run_stage(lineage.COMPARISON, config, "[end of sweep]" if len(cells) > 1 else "[last]")
    print(f"\n{format_table(read_json(folder / 'table.json'))}\n\nReport: {(folder / 'report.html').resolve()}")


def prepare_comparison(cells: list[dict[str, str]], config: DictConfig) -> None:
    """Set the inputs of `analyse` in a config, and its name, which depends on the cells.

    Raises:
        StageError: the last artifact of a cell does not exist, or is damaged.
    """
    last = last_stage(config, cells[0])
    cells = [_needed(cell, last, Path(config.paths.artifacts)) for cell in cells]
    names = sorted({cell[last] for cell in cells})
    if not config.artifacts[lineage.COMPARISON]:
        digest = hashlib.blake2b("\n".join(names).encode(), digest_size=4).hexdigest()
        OmegaConf.update(config, f"artifacts.{lineage.COMPARISON}", f"analyses/{len(cells)}_cells-{digest}")
    OmegaConf.update(config, f"stages.{lineage.COMPARISON}.inputs.cells", cells, force_add=True)


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
