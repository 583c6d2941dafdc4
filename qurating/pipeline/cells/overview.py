"""The cells of a sweep as they are now: from their own files, the processes and jobs behind them, and their stages."""

import contextlib
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean
from typing import Any

from qurating.artifacts.files import read_json
from qurating.pipeline.cells import progress, slurm, state
from qurating.pipeline.cells.progress import Progress
from qurating.pipeline.cells.slurm import Job
from qurating.pipeline.cells.state import Process, State
from qurating.runtime.errors import StageError

FINISHED, FAILED, KILLED = "finished", "failed", "killed"
RUNNING, WAITING, QUEUED = "running", "waiting", "queued"
NOT_STARTED, UNKNOWN = "not started", "unknown"
GOING_ON = {RUNNING, WAITING, QUEUED, UNKNOWN}  # this may still change without a new command


@dataclass
class Cell:
    """A cell for people.

    `number`: in the sweep; None for a run without a sweep. `state`: one of the words above; `note`: the reason of a
    failure, what it waits for, SLURM's word for why it is queued.
    `stage`: of the stages, the one that it is in, `place` of `num_stages` (from 1). `seconds`: since that began.
    `progress`: in this stage. `seconds_left`: estimated, of the cell; `is_at_least`: without stages that cannot be
    estimated. `log`: where its errors are.
    """

    number: int | None
    overrides: list[str]
    state: str
    note: str = ""
    stage: str | None = None
    place: int = 0
    num_stages: int = 0
    progress: Progress | None = None
    seconds: float | None = None
    seconds_left: float | None = None
    is_at_least: bool = False
    job: str | None = None
    log: str | None = None


@dataclass
class Overview:
    """A sweep, or a run without one: what `state.begin_sweep` wrote, its cells, and the comparison after them."""

    sweep: Mapping[str, Any]
    cells: list[Cell]
    comparison: Cell | None

    @property
    def exit_status(self) -> int:
        """0: all is complete; 3: something still runs or waits; 1: nothing does, and not all is complete."""
        states = {cell.state for cell in [*self.cells, *([self.comparison] if self.comparison else [])]}
        return 0 if states == {FINISHED} else 3 if states & GOING_ON else 1


def read(folder: Path) -> Overview:
    """Look at the folder of a sweep or a run.

    Raises:
        StageError: it is neither, or was made by an earlier version.
    """
    sweep, jobs = state.read_sweep(folder), state.read_jobs(folder)
    states: dict[int | None, State]
    if not sweep:
        alone = State.read(folder / state.STATE)
        if alone is None:
            raise StageError(
                f"{folder} is no sweep and no run that can be looked at: {state.SWEEP} and {state.STATE} are missing"
            )
        states, numbers = {None: alone}, list[int | None]([None])
        overrides: dict[int | None, list[str]] = {None: alone.overrides}
    else:
        found = [State.read(file) for file in folder.glob(f"*/{state.STATE}")]
        states = {each.cell: each for each in found if each and each.sweep == sweep["id"]}
        listed = sweep["cells"] or []
        numbers = sorted({*range(len(listed)), *(number for number in states if number is not None)})
        overrides = {number: each.overrides for number, each in states.items()} | dict(enumerate(listed))
    ids = {number: jobs.get("cells", {}).get(str(number)) for number in numbers}
    ids |= {number: each.job for number, each in states.items() if each.job}
    asked = slurm.jobs({job for job in [*ids.values(), jobs.get("comparison")] if job})
    launcher = Process(*sweep["process"]).is_alive() if sweep else None
    times = _seconds_of_stages(states.values())
    cells = [
        _cell(number, overrides[number], states.get(number), ids[number], asked, launcher, times) for number in numbers
    ]
    return Overview(sweep, cells, _comparison(folder, sweep, jobs, asked, launcher, cells) if sweep else None)


def _cell(
    number: int | None,
    overrides: list[str],
    own: State | None,
    job: str | None,
    asked: Mapping[str, Job] | None,
    launcher: bool | None,
    times: Mapping[str, float],
) -> Cell:
    cell = Cell(number, overrides, UNKNOWN, job=job)
    if own is None:
        cell.state, cell.note = _not_begun(job, asked, launcher)
        return cell
    cell.log, cell.num_stages, cell.note = own.log, len(own.stages), own.reason
    if own.stage is not None:
        cell.stage, cell.place = own.stages[own.stage][0], own.stage + 1
    if own.state in (state.FINISHED, state.FAILED):
        cell.state = FINISHED if own.state == state.FINISHED else FAILED
        return cell
    cell.state, cell.note = _begun(own, job, asked)
    if cell.state == RUNNING and own.stage is not None and own.stage_started is not None:
        name, root = own.stages[own.stage][1], Path(own.root)
        cell.seconds = max(0.0, time.time() - own.stage_started)
        cell.progress = progress.of(*own.stages[own.stage], root)
        builder = progress.builder(name, root)
        if builder and builder != (own.process.host, own.process.pid):
            cell.state, cell.note = WAITING, f"process {builder[1]} on {builder[0]} builds {name}"
        cell.seconds_left, cell.is_at_least = _left(own, cell, times)
    return cell


def _not_begun(job: str | None, asked: Mapping[str, Job] | None, launcher: bool | None) -> tuple[str, str]:
    """The state of a cell that has written nothing, and a note."""
    if job is None:
        if launcher is None:
            return UNKNOWN, "not started; the command runs on another machine"
        return (QUEUED, "") if launcher else (NOT_STARTED, "the command has ended")
    if asked is None:
        return UNKNOWN, "not started; SLURM cannot be asked from here"
    found = asked[job]
    if found.state in slurm.WAITING:
        return QUEUED, found.reason
    if found.state in slurm.WORKING:
        return RUNNING, "starting"
    return KILLED, f"before it began: SLURM says {found.state}" + (f" ({found.reason})" if found.reason else "")


def _begun(own: State, job: str | None, asked: Mapping[str, Job] | None) -> tuple[str, str]:
    """The state of a cell that has not written how it ended, and a note."""
    if job is not None and asked is not None:
        found = asked[job]
        if found.state in slurm.WAITING:
            return QUEUED, f"again: {found.reason or 'requeued'}"
        is_gone = own.process.is_alive() is False
        if found.state in slurm.WORKING and (own.log or not is_gone):  # submitit, which has a log, may start it again
            return RUNNING, "starting again, or ending" if is_gone else ""
        if found.state in slurm.WORKING:
            return KILLED, f"process {own.process.pid} is gone, without a word, and its job goes on"
        return KILLED, f"SLURM says {found.state}" + (f" ({found.reason})" if found.reason else "")
    alive = own.process.is_alive()
    if alive is None:
        return UNKNOWN, f"process {own.process.pid} on {own.process.host} cannot be asked from here"
    if own.state == state.STOPPED:
        return KILLED, own.reason
    return (RUNNING, "") if alive else (KILLED, f"process {own.process.pid} is gone, without a word")


def _left(own: State, cell: Cell, times: Mapping[str, float]) -> tuple[float | None, bool]:
    """An estimate of the seconds that a cell still takes, and whether some of its stages could not be estimated."""
    assert own.stage is not None
    parts, is_at_least = list[float](), False
    done = cell.progress
    new = done.done - own.done_before if done else 0
    if done and done.total and new > 0 and cell.seconds:
        parts.append(max(0, done.total - done.done) * cell.seconds / new)
    elif cell.stage and cell.stage in times:
        parts.append(max(0.0, times[cell.stage] - (cell.seconds or 0)))
    else:
        is_at_least = True
    for stage, name in own.stages[own.stage + 1 :]:
        if (Path(own.root) / name / "manifest.json").is_file():
            continue
        if stage in times:
            parts.append(times[stage])
        else:
            is_at_least = True
    return (sum(parts), is_at_least) if parts else (None, True)


def _seconds_of_stages(states: Any) -> dict[str, float]:
    """The mean seconds that each stage took in the complete artifacts of these cells."""
    files = {(stage, Path(own.root) / name / "manifest.json") for own in states for stage, name in own.stages}
    found: dict[str, list[float]] = {}
    for stage, file in files:
        with contextlib.suppress(OSError, StageError, KeyError, TypeError):
            seconds = float(read_json(file)["seconds"])
            found.setdefault(stage, []).append(seconds)
    return {stage: mean(seconds) for stage, seconds in found.items()}


def _comparison(
    folder: Path,
    sweep: Mapping[str, Any],
    jobs: Mapping[str, Any],
    asked: Mapping[str, Job] | None,
    launcher: bool | None,
    cells: Sequence[Cell],
) -> Cell | None:
    """The comparison of the cells, at the end of the sweep; None if it makes none."""
    own, job = State.read(folder / state.COMPARISON), jobs.get("comparison")
    if not sweep.get("compares") or (own is None and job is None and sweep["detached"]):
        return None
    cell = _cell(None, [], own, job, asked, launcher, {})
    if own is None and job is None and cell.state == QUEUED:
        cell.note = "after the cells"
    if own is None and cell.state == KILLED and not any(each.state == FINISHED for each in cells):
        cell.note = "no cell is complete"
    return cell
