"""Hydra's launchers of submitit, changed so that a cell fails alone, and that few cells run at once on one machine.

Both return when every cell has ended. A cell that failed has recorded it in its folder (`failures`); for one that was
killed the launcher does. Its place in the results is taken by a `CellError`.
"""

import contextlib
import os
import signal
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from hydra.core.singleton import Singleton
from hydra.core.utils import JobReturn, JobStatus, env_override
from hydra.errors import CompactHydraException
from hydra_plugins.hydra_submitit_launcher.submitit_launcher import BaseSubmititLauncher
from omegaconf import OmegaConf

from qurating.pipeline.cells import failures, state, submission
from qurating.runtime.processes import usable_cores

_THREADS = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_POLL_SECONDS = 0.1
_TELL_SECONDS = 5.0  # between two looks at the stages of the cells
_GRACE_SECONDS = 10.0  # to end by itself after SIGTERM


class _Launcher(BaseSubmititLauncher):
    """What both launchers do: `__call__` runs a cell in its own process, `_outcome` tells what became of it."""

    def __call__(self, *arguments: Any, **given: Any) -> JobReturn:
        returned = super().__call__(*arguments, **given)
        if isinstance(returned.return_value, failures.CellError):
            raise returned.return_value  # so that the process fails: SLURM's accounting shows it
        return returned

    def _cells(self, overrides: Sequence[Sequence[str]], first: int) -> list[tuple[Any, ...]]:
        """The arguments of `__call__` for each cell."""
        state = Singleton.get_state()
        return [(list(o), "hydra.sweep.dir", n, f"job_id_for_{n}", state) for n, o in enumerate(overrides, first)]

    def _outcome(self, number: int, job: Any) -> JobReturn:
        """Wait for a job, and return what its cell returned; a `CellError` in its place if it failed."""
        assert self.config is not None
        cell = Path(self.config.hydra.sweep.dir) / str(number)
        try:
            returned: JobReturn = job.results()[0]
        except Exception as error:  # whatever submitit makes of a process that ended without a result
            how = "" if self._EXECUTOR == "local" else f", and {self._EXECUTOR} says {job.state}"
            killed = f"the process ended without a result (killed, or out of memory){how}"
            has_result = job.paths.result_pickle.exists()
            failures.record(cell, str(error) if has_result else killed, job.paths.stdout)
            returned = JobReturn(status=JobStatus.COMPLETED)
            returned.return_value = failures.CellError(failures.read(cell).reason)
        return returned


class SlurmLauncher(_Launcher):
    """Job arrays; its settings are those of hydra-submitit-launcher, and `detach`."""

    _EXECUTOR = "slurm"

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Submit the cells, and wait for them unless they are detached; see `submission.launch`."""
        jobs = submission.launch(self, self._cells(job_overrides, initial_job_idx), initial_job_idx)
        return [self._outcome(number, job) for number, job in enumerate(jobs, initial_job_idx)]


class LocalLauncher(_Launcher):
    """Processes of this machine, `max_cells` at once. The others wait without a process."""

    _EXECUTOR = "local"

    def __call__(self, *arguments: Any, **given: Any) -> JobReturn:
        signal.signal(signal.SIGTERM, _end)  # submitit ignores it
        return super().__call__(*arguments, **given)

    def launch(self, job_overrides: Sequence[Sequence[str]], initial_job_idx: int) -> Sequence[JobReturn]:
        """Run the cells in turn; ends those that run if this process is interrupted or terminated.

        Raises CompactHydraException if `max_cells` or `threads_per_cell` is no number of at least 1, or if this machine
        has too few GPUs for one cell.
        """
        import submitit

        assert self.config is not None
        given = dict(self.params)
        at_once, threads, gpus = (given.pop(what) for what in ("max_cells", "threads_per_cell", "gpus_per_cell"))
        for key, value in {"max_cells": at_once, "threads_per_cell": 1 if threads is None else threads}.items():
            if not isinstance(value, int) or value < 1:
                raise CompactHydraException(f"hydra.launcher.{key} is a whole number of at least 1, not {value!r}")
        executor = submitit.LocalExecutor(folder=given.pop("submitit_folder"))
        executor.update_parameters(**given)
        at_once = min(at_once, len(job_overrides))
        free = self._gpus(gpus, at_once)
        at_once = len(free)
        threads = threads or max(1, usable_cores() // (at_once * given["tasks_per_node"]))
        waiting = deque(enumerate(self._cells(job_overrides, initial_job_idx), initial_job_idx))
        choices = dict(enumerate(distinct(job_overrides), initial_job_idx))
        running: dict[int, Any] = {}
        devices: dict[int, tuple[int, ...]] = {}
        outcomes: dict[int, JobReturn] = {}
        stages: dict[int, str] = {}
        told = time.monotonic()
        with env_override(dict.fromkeys(_THREADS, str(threads))), _ending(running):
            while waiting or running:
                while waiting and len(running) < at_once:
                    number, cell = waiting.popleft()
                    devices[number] = free.pop()
                    executor.update_parameters(gpus_per_node=len(devices[number]), visible_gpus=devices[number])
                    running[number] = executor.submit(self, *cell)
                    log = running[number].paths.stdout
                    print(f"cell {number} starts ({' '.join(choices[number]) or 'the only one'}): {log}", flush=True)
                time.sleep(_POLL_SECONDS)
                if time.monotonic() - told > _TELL_SECONDS:
                    told = time.monotonic()
                    for line in tell_stages(Path(self.config.hydra.sweep.dir), running, stages):
                        print(line, flush=True)
                for number in [number for number, job in running.items() if job.done()]:
                    outcomes[number] = self._outcome(number, running.pop(number))
                    free.append(devices.pop(number))
                    has_failed = isinstance(outcomes[number].return_value, failures.CellError)
                    how = "has failed" if has_failed else "is complete"
                    print(f"cell {number} {how}; {len(outcomes)} of {len(choices)} cells have ended", flush=True)
        return [outcomes[number] for number in sorted(outcomes)]

    def _gpus(self, per_cell: int | None, at_once: int) -> list[tuple[int, ...]]:
        """The GPUs of each cell that runs at once; fewer cells, if there are fewer GPUs. No cell shares one."""
        config = self.config
        if per_cell is None:
            wants = OmegaConf.select(config, "trainer.accelerator") == "gpu"
            per_cell = int(OmegaConf.select(config, "trainer.devices")) if wants else 0
        if per_cell == 0:
            return [()] * at_once
        given = os.environ.get("CUDA_VISIBLE_DEVICES")
        if given is None:
            import torch

            given = ",".join(map(str, range(torch.cuda.device_count())))
        visible = [int(gpu) for gpu in given.split(",") if gpu.strip()]
        if len(visible) < per_cell:
            raise CompactHydraException(
                f"a cell needs {per_cell} GPUs, and this machine has {len(visible)}: set trainer=cpu, or "
                "hydra.launcher.gpus_per_cell"
            )
        return [
            tuple(visible[i * per_cell : (i + 1) * per_cell]) for i in range(min(at_once, len(visible) // per_cell))
        ]


def tell_stages(sweep: Path, running: Iterable[int], told: dict[int, str]) -> Iterator[str]:
    """A line for each running cell whose stage is not in `told` yet, which it updates; a short stage is not seen."""
    for number in running:
        cell = state.State.read(sweep / str(number) / state.STATE)
        if cell is not None and cell.stage is not None:
            stage, name = cell.stages[cell.stage]
            if told.get(number) != stage:
                told[number] = stage
                yield f"cell {number}: {stage} ({name})"


def distinct(cells: Sequence[Sequence[str]]) -> list[list[str]]:
    """The overrides of each cell that not all cells have."""
    shared = set.intersection(*map(set, cells))
    return [[each for each in cell if each not in shared] for cell in cells]


@contextlib.contextmanager
def _ending(running: dict[int, Any]) -> Iterator[None]:
    """End the processes of `running` when the block ends before they do, also by SIGTERM."""
    before = signal.signal(signal.SIGTERM, _end)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
        left = [job for job in running.values() if not job.done()]
        for job in left:
            os.kill(int(job.job_id), signal.SIGTERM)  # not yet waited for, so that no other process has its id
        deadline = time.monotonic() + _GRACE_SECONDS
        while time.monotonic() < deadline and not all(job.done() for job in left):
            time.sleep(_POLL_SECONDS)
        for job in left:
            if not job.done():
                _kill(int(job.job_id))
        while not all(job.done() for job in left):
            time.sleep(_POLL_SECONDS)


def _kill(controller: int) -> None:
    """Kill the cell under a process of submitit, which then ends.

    submitit does so itself after SIGINT, but that is ignored in the background of a script.
    """
    children = Path(f"/proc/{controller}/task/{controller}/children")
    for child in children.read_text(encoding="utf-8").split() if children.exists() else []:
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(child), signal.SIGKILL)
    os.kill(controller, signal.SIGINT)


def _end(signum: int, _: Any) -> None:
    raise SystemExit(128 + signum)
