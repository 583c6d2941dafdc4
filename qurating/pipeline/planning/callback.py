"""Hydra's callback for `plan=true`: the plan of a command, instead of its run."""

import os
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hydra.errors import HydraException
from hydra.experimental.callback import Callback
from omegaconf import DictConfig, open_dict, read_write
from omegaconf.errors import OmegaConfBaseException

from qurating.runtime.errors import StageError
from qurating.runtime.processes import rank

if TYPE_CHECKING:
    from qurating.pipeline.planning.report import Report

CHOICES = (True, "json")


class Plan(Callback):
    """Ends the command with the plan before anything is started or written, if `plan` is set."""

    def on_run_start(self, config: DictConfig, **_: Any) -> None:
        if config.plan:
            _end(config, is_sweep=False)

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        if config.plan:
            _end(config, is_sweep=True)


def _end(config: DictConfig, is_sweep: bool) -> None:
    """Print the plan and end the process: Hydra would turn any other exception into a warning, and start the run."""
    try:
        if config.plan not in CHOICES:
            raise StageError(f"plan={config.plan}: it is true, json or false")
        if rank() == 0:
            found = report_of(config, is_sweep)
            print(found.as_json() if config.plan == "json" else found.as_text())
    except (StageError, HydraException, OmegaConfBaseException) as error:
        print(f"\nError: {error}", file=sys.stderr)
        sys.exit(1)
    except Exception:
        traceback.print_exc()
        sys.exit(1)
    sys.exit(0)


def report_of(config: DictConfig, is_sweep: bool) -> "Report":
    """The plan of a composed command; what is left out of some cells is told on stderr.

    Raises:
        StageError, and errors of Hydra and OmegaConf: a config that no run would accept.
    """
    os.environ["HF_HUB_OFFLINE"] = "1"  # a plan sends no request: what it cannot compare counts as unchanged
    from qurating.pipeline import hydra_internals, overrides
    from qurating.pipeline.planning.report import Report
    from qurating.pipeline.planning.states import plan_cells
    from qurating.pipeline.sweep import drop_repetitions
    from qurating.runtime.garbage import rare_collections

    with rare_collections():
        if is_sweep:
            drop_repetitions(config)
        cells = list(hydra_internals.cells(config)) if is_sweep else [config]
        for line in overrides.left_out(config.hydra.overrides.task, cells):
            print(f"warning: {line}", file=sys.stderr)
        planned = plan_cells(map(_without_hydra, cells))
        is_here = str(config.hydra.launcher._target_).endswith("BasicLauncher")
        found = Report.of(planned, Path(config.paths.artifacts), len(cells), 1 if is_here else len(cells))
    return found


def _without_hydra(cell: DictConfig) -> tuple[DictConfig, Sequence[str]]:
    """The config of a cell as its stages see it, and its overrides."""
    given = [str(each) for each in cell.hydra.overrides.task]
    config = cell.copy()
    with read_write(config), open_dict(config):
        del config["hydra"]
    return config, given
