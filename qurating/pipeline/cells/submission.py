"""Submitting the cells of a sweep to SLURM: in as few arrays as it allows, with a job that compares them afterwards."""

import copy
import functools
import shlex
import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hydra.core.config_store import ConfigStore
from hydra.core.singleton import Singleton
from hydra.core.utils import setup_globals
from hydra.errors import CompactHydraException
from hydra_plugins.hydra_submitit_launcher.config import BaseQueueConf, SlurmQueueConf
from omegaconf import DictConfig, open_dict, read_write

from qurating.artifacts import lineage
from qurating.pipeline.cells import failures, overview, slurm, state
from qurating.runtime.errors import StageError

# of the job that compares: it reads tables and draws figures
_OF_COMPARISON = {"nodes": 1, "tasks_per_node": 1, "cpus_per_task": 1, "name": "qurating-comparison"}
_MOST_OF_COMPARISON = {"mem_gb": 16, "timeout_min": 240, "signal_delay_s": 60}
_NOT_OF_COMPARISON = {"gpus_per_node", "gpus_per_task", "cpus_per_gpu", "mem_per_gpu", "mem_per_cpu", "gres"}
_WHEN = {"begin", "dependency", "array"}  # of `additional_parameters`: they are of the cells


@dataclass
class SlurmQueue(SlurmQueueConf):
    """The settings of hydra-submitit-launcher, and `detach`: submit, and do not wait."""

    detach: bool = False


ConfigStore.instance().store(group="hydra/launcher", name="slurm_queue", node=SlurmQueue(), provider="qurating")


def is_detached(config: DictConfig) -> bool:
    """Whether the command of a sweep returns before its cells have ended: only a launcher for SLURM does so."""
    launcher = config.hydra.launcher
    return str(launcher["_target_"]).endswith(".SlurmLauncher") and bool(launcher.get("detach"))


def launch(launcher: Any, cells: Sequence[tuple[Any, ...]], first: int) -> list[Any]:
    """Submit the cells of a sweep; returns the submitit jobs to wait for: none if the sweep is detached.

    Args:
        launcher: a submitit launcher of Hydra for SLURM, that has been set up. It runs a cell when it is called.
        cells: the arguments of a call for each cell.
        first: the number of the first cell.

    Raises:
        CompactHydraException: SLURM is out of reach or refuses the jobs; Hydra prints the message alone.
    """
    config, settings = launcher.config, launcher.params
    folder = Path(str(config.hydra.sweep.dir))
    try:
        if settings["detach"] and config.hydra.sweeper.get("max_batch_size"):
            raise StageError(
                "hydra.launcher.detach=true submits all cells at once, hydra.sweeper.max_batch_size does not: use "
                "hydra.launcher.array_parallelism, which bounds how many run"
            )
        jobs = submit(launcher, cells, settings)
        state.submitted(folder, {number: job.job_id for number, job in enumerate(jobs, first)})
        if not settings["detach"]:
            return jobs
        after = None
        if lineage.COMPARISON in config.stages:
            after = submit_comparison(launcher.hydra_context.callbacks, config, settings, jobs)
            state.submitted(folder, {}, after.job_id)
    except StageError as error:
        raise CompactHydraException(f"Error: {error}") from None
    print(how_to_look(folder, jobs, after), flush=True)
    return []


def submit(run_cell: Callable[..., Any], cells: Sequence[tuple[Any, ...]], settings: Mapping[str, Any]) -> list[Any]:
    """Submit a job for each cell, in arrays of as many as SLURM allows; returns the submitit jobs in order.

    Args:
        run_cell: runs a cell in its job, and has submitit's `checkpoint`.
        cells: the arguments of `run_cell` for each cell.
        settings: of `hydra.launcher`, as a `SlurmQueue` has them.

    Raises:
        StageError: SLURM is out of reach, or refuses the jobs; no cell is left in its queue then.
    """
    if shutil.which("sbatch") is None or shutil.which("srun") is None:
        raise StageError(
            "SLURM is out of reach: there is no sbatch here. Start the command on a login node of the cluster, or "
            "without SLURM: hydra/launcher=local"
        )
    if wrong := slurm.too_large(settings):
        raise StageError(wrong)
    longest = slurm.max_array_size() or len(cells)
    arrays = [cells[start : start + longest] for start in range(0, len(cells), longest)]
    at_once = max(1, (settings.get("array_parallelism") or len(cells)) // len(arrays))
    executor = _executor({**settings, "array_parallelism": at_once})
    jobs: list[Any] = []
    try:
        for array in arrays:
            jobs += _accepted(functools.partial(executor.map_array, run_cell, *zip(*array, strict=True)), settings)
    except StageError:
        slurm.cancel(_ids(jobs))
        raise
    return jobs


def submit_comparison(callbacks: Any, config: DictConfig, settings: Mapping[str, Any], jobs: Sequence[Any]) -> Any:
    """Submit the job that ends a sweep once these jobs have ended, whatever became of them; returns it.

    It calls Hydra's callbacks of the end of a multirun, with the config and the state of Hydra as they are now: later
    edits of conf/ do not reach it.
    """
    small = {key: value for key, value in settings.items() if key not in _NOT_OF_COMPARISON} | _OF_COMPARISON
    for key, most in _MOST_OF_COMPARISON.items():
        small[key] = min(small.get(key) or most, most)
    small["additional_parameters"] = {
        key: value for key, value in (settings.get("additional_parameters") or {}).items() if key not in _WHEN
    }
    executor = _executor(small, dependency=f"afterany:{':'.join(_ids(jobs))}")
    ends = EndOfSweep(callbacks, config, Singleton.get_state())
    try:
        return _accepted(functools.partial(executor.submit, ends), small)
    except StageError as error:
        raise StageError(
            f"the cells are submitted (job {', '.join(_ids(jobs))}), and the job that compares them is not: {error}"
        ) from None


class EndOfSweep:
    """What the process of the command does after a sweep, in a job of its own."""

    def __init__(self, callbacks: Any, config: DictConfig, singletons: Any) -> None:
        self.callbacks, self.config, self.singletons = callbacks, copy.deepcopy(config), singletons
        with read_write(self.config), open_dict(self.config):
            self.config.hydra.launcher.detach = False  # there is nobody to wait for it

    def __call__(self) -> None:
        Singleton.set_state(self.singletons)
        setup_globals()
        _record_killed(Path(str(self.config.hydra.sweep.dir)))
        self.callbacks.on_multirun_end(config=self.config, config_name=None)
        if any(getattr(callback, "failed", False) for callback in self.callbacks.callbacks):
            raise RuntimeError("the comparison failed, or a cell did: see above")

    def checkpoint(self) -> Any:
        """For submitit, when the job is requeued."""
        import submitit

        return submitit.helpers.DelayedSubmission(self)


def _record_killed(sweep: Path) -> None:
    """Record the cells that have ended without a word: nobody waits for them in a detached sweep."""
    for cell in overview.read(sweep).cells:
        if cell.state not in (overview.FINISHED, overview.FAILED):
            log = Path(cell.log) if cell.log else None
            failures.record(sweep / str(cell.number), cell.note or f"it ended as {cell.state}", log)


def how_to_look(folder: Path, jobs: Sequence[Any], comparison: Any) -> str:
    """What the user reads when the command returns before the cells have ended."""
    ids = _ids(jobs)
    lines = [f"Submitted: {len(jobs)} cells as job {', '.join(ids)}"]
    if comparison is not None:
        lines[0] += f"; job {comparison.job_id} compares them when all have ended"
        ids.append(comparison.job_id)
    look = f"How they are:  python -m qurating.status {shlex.quote(str(folder))}"
    return "\n".join([*lines, look, f"Stop them:     scancel {' '.join(ids)}"])


def _ids(jobs: Sequence[Any]) -> list[str]:
    """The ids of whole arrays, and of single jobs."""
    return list(dict.fromkeys(job.job_id.split("_")[0] for job in jobs))


def _executor(settings: Mapping[str, Any], **more: Any) -> Any:
    import submitit

    executor = submitit.AutoExecutor(
        folder=settings["submitit_folder"], cluster="slurm", slurm_max_num_timeout=settings["max_num_timeout"]
    )
    shared = BaseQueueConf.__dataclass_fields__
    given = {
        key: value for key, value in settings.items() if key not in ("submitit_folder", "max_num_timeout", "detach")
    }
    executor.update_parameters(**{key if key in shared else f"slurm_{key}": value for key, value in given.items()})
    executor.update_parameters(**{f"slurm_{key}": value for key, value in more.items()})
    return executor


def _accepted(submission: Callable[[], Any], settings: Mapping[str, Any]) -> Any:
    """What a submission returns; raises StageError if sbatch refuses it."""
    import submitit

    try:
        return submission()
    except submitit.core.utils.FailedJobError as error:
        raise StageError(slurm.refusal(str(error), settings)) from None
