"""The files in which cells say how they are, and whether the process of one still runs."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from qurating.pipeline.cells import state
from qurating.pipeline.cells.state import Process, State, begin_sweep, read_jobs, read_sweep, recorded, submitted
from qurating.runtime.errors import StageError

STAGES = {"select": "subsets/x", "order": "orders/x"}


def test_a_cell_is_recorded_as_it_goes_on(tmp_path: Path) -> None:
    begin_sweep(tmp_path, [["a=1"], ["a=2"]], launcher="BasicLauncher", detached=False, compares=True)
    file = tmp_path / "1" / state.STATE
    with recorded(file, ["a=2"], cell=1, sweep=tmp_path) as recorder:
        first = State.read(file)
        recorder.will_run(STAGES, tmp_path / "artifacts")
        recorder.begins("order")
        during = State.read(file)
    after = State.read(file)
    assert first
    assert during
    assert after
    assert (first.state, first.stage, first.overrides, first.cell) == ("running", None, ["a=2"], 1)
    assert first.process == Process.this()
    assert first.process.is_alive()
    assert first.sweep == read_sweep(tmp_path)["id"]
    assert (during.state, during.stage, during.stages[1]) == ("running", 1, ("order", "orders/x"))
    assert during.root == str(tmp_path / "artifacts")
    assert (after.state, after.reason) == ("finished", "")
    assert after.ended is not None
    assert during.stage_started is not None
    assert during.stage_started <= after.ended


@pytest.mark.parametrize(
    ("error", "kind", "reason"),
    [
        (StageError("lower it,\n  or raise it"), "failed", "lower it, or raise it"),
        (ZeroDivisionError("by zero"), "failed", "ZeroDivisionError: by zero"),
        (ValueError(), "failed", "ValueError"),
        (KeyboardInterrupt(), "stopped", "interrupted"),
        (SystemExit(-1), "stopped", "stopped with exit status -1"),
    ],
)
def test_a_failure_is_recorded_and_goes_on(tmp_path: Path, error: BaseException, kind: str, reason: str) -> None:
    file = tmp_path / state.STATE
    with pytest.raises(type(error)), recorded(file):
        raise error
    found = State.read(file)
    assert found
    assert (found.state, found.reason) == (kind, reason)
    if kind == "failed":  # no launcher keeps what it printed
        assert found.log
        assert type(error).__name__ in Path(found.log).read_text(encoding="utf-8")


def test_the_message_for_the_user_is_found_behind_other_errors(tmp_path: Path) -> None:
    error = RuntimeError("loading failed")
    error.__cause__ = StageError("no such file")
    with pytest.raises(RuntimeError), recorded(tmp_path / state.STATE):
        raise error
    found = State.read(tmp_path / state.STATE)
    assert found
    assert found.reason == "no such file"


def test_a_run_goes_on_where_nothing_can_be_written(tmp_path: Path) -> None:
    (tmp_path / "a file").write_text("")
    blocked = tmp_path / "a file" / "0" / state.STATE
    begin_sweep(tmp_path / "a file", [[]], launcher="", detached=False, compares=False)
    submitted(tmp_path / "a file", {0: "1"})
    with recorded(blocked, sweep=tmp_path / "a file") as recorder:
        recorder.will_run(STAGES, tmp_path)
        recorder.begins("select")
    with pytest.raises(StageError), recorded(blocked):
        raise StageError("")
    assert State.read(blocked) is None


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"state": "running"', '{"process": [1]}'])
def test_a_file_that_cannot_be_read_is_no_state(tmp_path: Path, content: str) -> None:
    (tmp_path / state.STATE).write_text(content)
    assert State.read(tmp_path / state.STATE) is None


def test_a_state_of_a_later_version_is_read(tmp_path: Path) -> None:
    file = tmp_path / state.STATE
    with recorded(file):
        pass
    file.write_text(json.dumps(json.loads(file.read_text()) | {"a field of later": 1}))
    assert State.read(file)


def test_only_the_first_process_of_a_cell_writes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "1")
    with pytest.raises(StageError), recorded(tmp_path / state.STATE):
        raise StageError("")
    assert not list(tmp_path.iterdir())


def test_a_process_that_has_ended_is_told_from_another_with_its_id() -> None:
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as child:
        started = Process(Process.this().host, child.pid, state.start_of(child.pid))
        assert started.start
        assert started.is_alive()
        assert not started._replace(start="another boot 17").is_alive()
        child.kill()
        # not waited for yet: a zombie, which is no process any more
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert not started.is_alive()
    assert not started.is_alive()
    assert started._replace(host="another machine").is_alive() is None


def test_a_job_and_its_log_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    job = {"SLURM_JOB_ID": "15", "SLURM_ARRAY_JOB_ID": "12", "SLURM_ARRAY_TASK_ID": "3", "SLURM_PROCID": "0"}
    for key, value in (job | {"SUBMITIT_EXECUTOR": "slurm", "SUBMITIT_FOLDER": str(tmp_path / "%j")}).items():
        monkeypatch.setenv(key, value)
    with recorded(tmp_path / state.STATE):
        pass
    found = State.read(tmp_path / state.STATE)
    assert found
    assert (found.job, found.log) == ("12_3", str(tmp_path / "12_3" / "12_3_0_log.err"))
    # a process of the local launcher, in an allocation that is not its own
    for key, value in {"SUBMITIT_EXECUTOR": "local", "SUBMITIT_LOCAL_JOB_ID": "77"}.items():
        monkeypatch.setenv(key, value)
    with recorded(tmp_path / state.STATE):
        pass
    found = State.read(tmp_path / state.STATE)
    assert found
    assert (found.job, found.log) == (None, str(tmp_path / "77" / "77_0_log.err"))


def test_jobs_of_several_arrays_and_the_comparison_are_put_together(tmp_path: Path) -> None:
    submitted(tmp_path, {0: "7_0", 1: "7_1"})
    submitted(tmp_path, {2: "8"})
    submitted(tmp_path, {}, "9")
    assert read_jobs(tmp_path) == {"cells": {"0": "7_0", "1": "7_1", "2": "8"}, "comparison": "9"}
    begin_sweep(tmp_path, None, launcher="", detached=False, compares=True)  # another command in the same folder
    assert read_jobs(tmp_path) == {}
