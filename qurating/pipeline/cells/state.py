"""What a cell, and the sweep that it belongs to, say about themselves in files of the sweep's folder.

`<sweep>/sweep.json` has the list of cells and is written once, before the first one starts. `<sweep>/<n>/state.json` is
rewritten by the cell whenever it begins a stage or ends. `<sweep>/jobs.json` has the ids of SLURM jobs. No run fails
because such a file cannot be written. `python -m qurating.status` reads them.
"""

import contextlib
import dataclasses
import os
import platform
import shlex
import subprocess
import sys
import time
import traceback
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Self

from qurating.artifacts.files import read_json, write_json
from qurating.pipeline.cells import progress
from qurating.runtime.errors import StageError, user_message
from qurating.runtime.processes import rank

STATE, SWEEP, JOBS, COMPARISON = "state.json", "sweep.json", "jobs.json", "comparison.json"
RUNNING, FINISHED, FAILED, STOPPED = "running", "finished", "failed", "stopped"


class Process(NamedTuple):
    """A process of some machine; `start` tells it from a later one with the same id."""

    host: str
    pid: int
    start: str | None

    @classmethod
    def this(cls) -> Self:
        return cls(platform.node(), os.getpid(), start_of(os.getpid()))

    def is_alive(self) -> bool | None:
        """Whether it still runs; None if it ran on another machine, which cannot be asked."""
        return start_of(self.pid) == self.start if self.host == platform.node() else None


def start_of(pid: int) -> str | None:
    """When a process of this machine was started, in the words of the system; None if there is no such process."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="utf-8").strip()
        return None if fields[0] in "ZX" else f"{boot} {fields[19]}"
    except (FileNotFoundError, ProcessLookupError):
        if Path("/proc/self/stat").exists():
            return None
    asked = subprocess.run(["ps", "-o", "lstart=", "-p", str(pid)], capture_output=True, text=True)
    return asked.stdout.strip() or None


@dataclass
class State:
    """A cell as it describes itself; times are seconds since 1970, on the clock of its machine.

    `sweep`: the id in sweep.json, so that a folder that is used again does not show cells of an earlier command.
    `cell`: its number; None for a run without a sweep, and for the comparison at the end of one.
    `job`: the SLURM job, as 12_3. `log`: where its errors are written; None if only to the terminal.
    `root`: the folder of all artifacts. `stages`: those that it runs in order, each with the name of its artifact.
    `stage`: the place of the current one in this list; None before the first one.
    `done_before`: what an earlier attempt had done in the current stage (`progress.Progress.done`).
    `reason`: why it failed, or stopped.
    """

    sweep: str | None
    cell: int | None
    overrides: list[str]
    process: Process
    job: str | None
    log: str | None
    started: float
    root: str = ""
    stages: list[tuple[str, str]] = field(default_factory=list)
    stage: int | None = None
    stage_started: float | None = None
    done_before: int = 0
    state: str = RUNNING
    reason: str = ""
    ended: float | None = None

    @classmethod
    def read(cls, file: Path) -> Self | None:
        """The state in a file; None if there is none, or none that can be read."""
        found = _read(file)
        known = {each.name for each in dataclasses.fields(cls)}
        with contextlib.suppress(TypeError, KeyError):
            made = cls(**{key: value for key, value in found.items() if key in known})
            made.process, made.stages = Process(*made.process), [(stage, name) for stage, name in made.stages]
            return made
        return None


class Recorder:
    """Keeps the state of a cell in its file, which only the first process of the cell writes."""

    def __init__(self, file: Path, state: State) -> None:
        self._file, self._state = file, state
        self._write()

    def will_run(self, stages: Mapping[str, str], root: Path) -> None:
        """The stages of the cell in order, each with the name of its artifact under `root`."""
        self._state.stages, self._state.root = list(stages.items()), str(root.resolve())
        self._write()

    def begins(self, stage: str) -> None:
        state = self._state
        state.stage = [name for name, _ in state.stages].index(stage)
        found = progress.of(*state.stages[state.stage], Path(state.root))
        state.stage_started, state.done_before = time.time(), found.done if found else 0
        self._write()

    def ends(self, state: str, reason: str = "") -> None:
        self._state.state, self._state.reason, self._state.ended = state, reason, time.time()
        self._write()

    def keep(self, text: str) -> None:
        """Write the traceback of an error to a file, where no launcher does."""
        if self._state.log is None and rank() == 0:
            log = self._file.with_name("error.log")
            with contextlib.suppress(OSError):
                log.write_text(text, encoding="utf-8")
                self._state.log = str(log.resolve())

    def _write(self) -> None:
        if rank() == 0:
            with contextlib.suppress(OSError):
                write_json(self._file, dataclasses.asdict(self._state))


@contextlib.contextmanager
def recorded(
    file: Path, overrides: Sequence[str] = (), cell: int | None = None, sweep: Path | None = None
) -> Iterator[Recorder]:
    """Record in `file` that this process runs a cell in the block, and how that ends; yields the `Recorder`.

    Args:
        overrides: of the cell, as on the command line.
        cell: its number in the sweep.
        sweep: the folder of the sweep.
    """
    job, log = _job_and_log()
    known = read_sweep(sweep) if sweep else {}
    state = State(known.get("id"), cell, list(overrides), Process.this(), job, log, time.time())
    recorder = Recorder(file, state)
    try:
        yield recorder
    except Exception as error:
        recorder.keep("".join(traceback.format_exception(error)))
        recorder.ends(FAILED, reason_of(error))
        raise
    except KeyboardInterrupt:
        recorder.ends(STOPPED, "interrupted")
        raise
    except SystemExit as stop:  # submitit ends a job so, after it has put it back into the queue
        recorder.ends(STOPPED, f"stopped with exit status {stop.code}")
        raise
    recorder.ends(FINISHED)


def reason_of(error: BaseException) -> str:
    """What went wrong, in one line: the message for the user, or the last line of the traceback."""
    message = user_message(error) or traceback.format_exception_only(error)[-1]
    return " ".join(message.split()) or type(error).__name__


def _job_and_log() -> tuple[str | None, str | None]:
    """The SLURM job of this process, and the file where its launcher writes its errors."""
    job = os.environ.get("SLURM_JOB_ID")
    if "SLURM_ARRAY_JOB_ID" in os.environ:
        job = f"{os.environ['SLURM_ARRAY_JOB_ID']}_{os.environ['SLURM_ARRAY_TASK_ID']}"
    executor = os.environ.get("SUBMITIT_EXECUTOR")
    if executor is None:  # perhaps in a job that somebody wrote, or in an allocation that outlives the command
        return job, None
    import submitit

    return job if executor == "slurm" else None, str(submitit.JobEnvironment().paths.stderr)


def begin_sweep(
    folder: Path, cells: Sequence[Sequence[str]] | None, *, launcher: str, detached: bool, compares: bool
) -> None:
    """Write which cells a sweep has, before the first one starts.

    Args:
        cells: the overrides of each; None if the sweeper chooses them one after another.
        launcher: the class that starts them.
        detached: the command ends before the cells do.
        compares: the cells are compared at the end.
    """
    content = {
        "id": uuid.uuid4().hex,
        "cells": None if cells is None else [list(cell) for cell in cells],
        "launcher": launcher,
        "detached": detached,
        "compares": compares,
        "command": shlex.join(["python", *sys.argv]),
        "process": Process.this(),
        "started": time.time(),
    }
    with contextlib.suppress(OSError):
        (folder / JOBS).unlink(missing_ok=True)
        (folder / COMPARISON).unlink(missing_ok=True)
        write_json(folder / SWEEP, content)


def submitted(folder: Path, cells: Mapping[int, str], comparison: str | None = None) -> None:
    """Add the SLURM jobs of some cells, and of the comparison after them, to what is known of a sweep."""
    known = _read(folder / JOBS)
    jobs = known.get("cells", {}) | {str(cell): job for cell, job in cells.items()}
    with contextlib.suppress(OSError):
        write_json(folder / JOBS, {"cells": jobs, "comparison": comparison or known.get("comparison")})


def read_sweep(folder: Path) -> dict[str, Any]:
    """What `begin_sweep` wrote; empty if it wrote nothing."""
    return _read(folder / SWEEP)


def read_jobs(folder: Path) -> dict[str, Any]:
    """What `submitted` wrote; empty if it wrote nothing."""
    return _read(folder / JOBS)


def _read(file: Path) -> dict[str, Any]:
    with contextlib.suppress(OSError, StageError):
        found = read_json(file)
        return found if isinstance(found, dict) else {}
    return {}
