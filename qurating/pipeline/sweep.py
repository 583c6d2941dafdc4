"""What happens around the cells of a command: the configuration is frozen first, the cells are compared last."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.utils import JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, OmegaConf, open_dict, read_write

from qurating.artifacts import lineage
from qurating.artifacts.files import read_json
from qurating.artifacts.manifest import manifest
from qurating.pipeline import hydra_internals
from qurating.pipeline.run import last_stage, run_stage
from qurating.runtime.errors import StageError
from qurating.runtime.processes import rank


class Sweep(Callback):
    """Hydra's callback of every command; a run without a sweep is a sweep of one cell."""

    failed = False  # Hydra turns what a callback raises into a warning; run.py turns this into the exit status

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Copy conf/ into the sweep's folder and compose from the copy: jobs that wait do not see later edits.

        Where nothing is selected, the experiment's sweep over selections and orderings is left out.
        """
        hydra_internals.compose_from_copy(Path(config.hydra.sweep.dir).resolve() / "conf")
        if not any(map(lineage.is_of_a_model, config.stages)):
            # what an experiment sweeps would only repeat what is done before selecting
            with read_write(config), open_dict(config):
                for group in {"selection", "ordering"} & set(config.hydra.sweeper.params or {}):
                    del config.hydra.sweeper.params[group]

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
            _tell_what_is_complete(cells, config)
            return
        try:
            _compare(cells, config)
        except StageError as error:
            Sweep.failed = True
            print(f"\nError: {error}", flush=True)
        except Exception:
            Sweep.failed = True
            raise


def _compare(cells: list[dict[str, str]], config: DictConfig) -> None:
    """Run `analyse` on the cells, then print their table and where the report is."""
    from qurating.reports.table import format_table

    last = last_stage(config, cells[0])
    cells = [_used(cell, last, Path(config.paths.artifacts)) for cell in cells]
    names = sorted({cell[last] for cell in cells})
    if not config.artifacts[lineage.COMPARISON]:
        digest = hashlib.blake2b("\n".join(names).encode(), digest_size=4).hexdigest()
        OmegaConf.update(config, f"artifacts.{lineage.COMPARISON}", f"analyses/{len(cells)}_cells-{digest}")
    OmegaConf.update(config, f"stages.{lineage.COMPARISON}.inputs.cells", cells, force_add=True)
    folder = run_stage(lineage.COMPARISON, config, "[end of sweep]" if len(cells) > 1 else "[last]")
    print(f"\n{format_table(read_json(folder / 'table.json'))}\n\nReport: {(folder / 'report.html').resolve()}")


def _used(cell: Mapping[str, str], last: str, root: Path) -> dict[str, str]:
    """The artifacts of a cell that its last goes back to: a uniform selection, say, reads no ratings."""
    found, waiting = set(), [cell[last]]
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [given.rsplit(" (", 1)[0] for given in manifest(root / name)["inputs"].values()]
    return {stage: name for stage, name in cell.items() if name in found}


def _tell_what_is_complete(cells: list[dict[str, str]], config: DictConfig) -> None:
    """Of the artifacts of the chosen stages: tasks that ran elsewhere have told their logs alone."""
    for name in dict.fromkeys(cell[stage] for cell in cells for stage in config.stages if stage in cell):
        there = (Path(config.paths.artifacts) / name / "manifest.json").is_file()
        state = "complete" if there else "not complete yet: the tasks' logs say why; the same command goes on"
        print(f"{name}: {state}", flush=True)
