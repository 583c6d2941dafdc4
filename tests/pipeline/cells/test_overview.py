"""The state of each cell: from its file, its process, its SLURM job and its working folder."""

from pathlib import Path

import pytest
from status_example import HERE, begin, gone, half_trained, write_state

from qurating.artifacts.files import write_json
from qurating.pipeline.cells import overview, slurm, state
from qurating.pipeline.cells.progress import Progress
from qurating.pipeline.cells.slurm import Job
from qurating.pipeline.cells.state import recorded, submitted
from qurating.runtime.errors import StageError


def states(folder: Path) -> list[str]:
    return [cell.state for cell in overview.read(folder).cells]


def test_a_cell_that_runs(tmp_path: Path) -> None:
    begin(tmp_path, 1)
    write_state(tmp_path, 0)
    half_trained(tmp_path)
    found = overview.read(tmp_path)
    (cell,) = found.cells
    assert (cell.state, cell.stage, cell.place, cell.num_stages) == ("running", "train_lm", 2, 3)
    assert cell.progress == Progress(10, 40, "steps")
    assert cell.seconds == pytest.approx(60, abs=30)
    assert cell.seconds_left == pytest.approx(3 * (cell.seconds or 0), rel=0.01)  # 30 of 40 steps are left
    assert cell.is_at_least, "nobody knows how long evaluating takes"
    assert cell.overrides[-1] == "replicate=0"
    assert found.exit_status == 3


def test_the_time_left_counts_from_where_this_attempt_began(tmp_path: Path) -> None:
    begin(tmp_path, 1)
    write_state(tmp_path, 0, done_before=5)
    half_trained(tmp_path)
    (cell,) = overview.read(tmp_path).cells
    assert cell.seconds_left == pytest.approx(6 * (cell.seconds or 0), rel=0.01)  # 5 steps in this time, 30 are left


def test_stages_to_come_take_as_long_as_in_other_cells(tmp_path: Path) -> None:
    begin(tmp_path, 2)
    write_state(tmp_path, 0)
    half_trained(tmp_path)
    others = [("train_lm", "models/y"), ("evaluate", "evaluations/y")]
    write_state(tmp_path, 1, state="finished", stage=1, stages=others)
    for name, seconds in (("models/y", 999), ("evaluations/y", 500)):
        write_json(tmp_path / "artifacts" / name / "manifest.json", {"seconds": seconds})
    cell = overview.read(tmp_path).cells[0]
    assert cell.seconds_left == pytest.approx(500 + 3 * (cell.seconds or 0), rel=0.01)
    assert not cell.is_at_least
    # an evaluation that is complete already takes no time
    write_json(tmp_path / "artifacts/evaluations/x/manifest.json", {"seconds": 500})
    cell = overview.read(tmp_path).cells[0]
    assert cell.seconds_left == pytest.approx(3 * (cell.seconds or 0), rel=0.01)


def test_a_cell_that_waits_for_the_lock_of_another(tmp_path: Path) -> None:
    begin(tmp_path, 1)
    write_state(tmp_path, 0)
    half_trained(tmp_path, HERE._replace(host="node7", pid=12))
    (cell,) = overview.read(tmp_path).cells
    assert (cell.state, cell.note) == ("waiting", "process 12 on node7 builds models/x")
    assert cell.progress == Progress(10, 40, "steps")


def test_a_process_that_is_gone_was_killed(tmp_path: Path) -> None:
    begin(tmp_path, 1)
    process = gone()
    write_state(tmp_path, 0, process)
    (cell,) = overview.read(tmp_path).cells
    assert (cell.state, cell.note) == ("killed", f"process {process.pid} is gone, without a word")
    assert overview.read(tmp_path).exit_status == 1


def test_a_process_of_another_machine_cannot_be_asked(tmp_path: Path) -> None:
    begin(tmp_path, 1)
    write_state(tmp_path, 0, HERE._replace(host="elsewhere", pid=12))
    (cell,) = overview.read(tmp_path).cells
    assert (cell.state, cell.note) == ("unknown", "process 12 on elsewhere cannot be asked from here")
    assert overview.read(tmp_path).exit_status == 3


def test_a_failure_has_its_reason_and_its_log(tmp_path: Path) -> None:
    begin(tmp_path, 2)
    write_state(tmp_path, 0, state="failed", reason="no such file", log="here.err")
    write_state(tmp_path, 1, state="finished", stage=2)
    found = overview.read(tmp_path)
    failed = found.cells[0]
    assert (failed.state, failed.note, failed.log) == ("failed", "no such file", "here.err")
    assert found.exit_status == 1


def test_cells_that_have_not_begun(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(tmp_path, 2)
    write_state(tmp_path, 0, state="finished")
    assert states(tmp_path) == ["finished", "queued"]
    known = state.read_sweep(tmp_path)
    write_json(tmp_path / state.SWEEP, known | {"process": gone()})
    assert states(tmp_path) == ["finished", "not started"]
    assert overview.read(tmp_path).exit_status == 1
    write_json(tmp_path / state.SWEEP, known | {"process": HERE._replace(host="elsewhere")})
    assert states(tmp_path) == ["finished", "unknown"]


def test_a_folder_that_is_used_again_does_not_show_earlier_cells(tmp_path: Path) -> None:
    begin(tmp_path, 1)
    write_state(tmp_path, 0, state="finished")
    assert overview.read(tmp_path).exit_status == 0
    begin(tmp_path, 1)
    assert states(tmp_path) == ["queued"]


def test_jobs_of_slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    begin(tmp_path, 9, detached=True, compares=True)
    submitted(tmp_path, {number: f"12_{number}" for number in range(9)}, "13")
    node = HERE._replace(host="node7", pid=12)
    for number in range(3, 7):
        write_state(tmp_path, number, node, job=f"12_{number}")
    write_state(tmp_path, 7, node, job="12_7", state="finished", stage=2)
    write_state(tmp_path, 8, node, job="12_8", state="stopped", reason="stopped with exit status -1")
    said = {
        "12_0": Job("PENDING", "Resources"),
        "12_1": Job("RUNNING"),
        "12_2": Job("CANCELLED by 0"),
        "12_3": Job("RUNNING"),
        "12_4": Job("OUT_OF_MEMORY"),
        "12_5": Job("FAILED", "NonZeroExitCode"),
        "12_6": Job("PENDING", "BeginTime"),  # put back into the queue, for example after a failure of the node
        "12_7": Job("COMPLETED"),
        "12_8": Job("PENDING", "BeginTime"),  # near its time limit
        "13": Job("PENDING", "Dependency"),
    }
    monkeypatch.setattr(slurm, "jobs", lambda ids: {each: said[each] for each in ids})
    found = overview.read(tmp_path)
    assert [(cell.state, cell.note) for cell in found.cells] == [
        ("queued", "Resources"),
        ("running", "starting"),
        ("killed", "before it began: SLURM says CANCELLED by 0"),
        ("running", ""),
        ("killed", "SLURM says OUT_OF_MEMORY"),
        ("killed", "SLURM says FAILED (NonZeroExitCode)"),
        ("queued", "again: BeginTime"),
        ("finished", ""),
        ("queued", "again: BeginTime"),
    ]
    assert found.comparison
    assert (found.comparison.state, found.comparison.note, found.comparison.job) == ("queued", "Dependency", "13")
    assert found.exit_status == 3
    monkeypatch.setattr(slurm, "jobs", lambda ids: None)
    assert [cell.state for cell in overview.read(tmp_path).cells] == ["unknown"] * 7 + ["finished", "unknown"]


@pytest.mark.parametrize(
    ("log", "expected"),
    [
        ("12_0.err", ("running", "starting again, or ending")),  # submitit's: a requeue, or the end of the job
        (None, ("killed", "process {} is gone, without a word, and its job goes on")),  # an interactive allocation
    ],
)
def test_a_process_that_is_gone_before_its_job(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: str | None, expected: tuple[str, str]
) -> None:
    begin(tmp_path, 1)
    process = gone()
    write_state(tmp_path, 0, process, job="12", log=log)
    monkeypatch.setattr(slurm, "jobs", lambda ids: {"12": Job("RUNNING")})
    (cell,) = overview.read(tmp_path).cells
    assert (cell.state, cell.note) == (expected[0], expected[1].format(process.pid))


def test_the_comparison_counts(tmp_path: Path) -> None:
    begin(tmp_path, 1, compares=True)
    write_state(tmp_path, 0, state="finished", stage=2)
    found = overview.read(tmp_path)
    assert found.comparison
    assert found.comparison.state == "queued"
    assert found.exit_status == 3
    with pytest.raises(StageError), recorded(tmp_path / state.COMPARISON, sweep=tmp_path):
        raise StageError("a cell is missing")
    found = overview.read(tmp_path)
    assert found.comparison
    assert (found.comparison.state, found.comparison.note) == ("failed", "a cell is missing")
    assert found.exit_status == 1
    with recorded(tmp_path / state.COMPARISON, sweep=tmp_path):
        pass
    assert overview.read(tmp_path).exit_status == 0


def test_cells_that_a_sweeper_chooses_later(tmp_path: Path) -> None:
    state.begin_sweep(tmp_path, None, launcher="BasicLauncher", detached=False, compares=False)
    write_state(tmp_path, 0, overrides=["seed=3"], state="finished")
    assert [cell.overrides for cell in overview.read(tmp_path).cells] == [["seed=3"]]


def test_a_run_without_a_sweep(tmp_path: Path) -> None:
    with recorded(tmp_path / state.STATE, ["seed=1"]):
        found = overview.read(tmp_path)
        assert [(cell.number, cell.state, cell.overrides) for cell in found.cells] == [(None, "running", ["seed=1"])]
        assert found.exit_status == 3
    assert overview.read(tmp_path).exit_status == 0


def test_a_folder_of_something_else(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="is no sweep and no run"):
        overview.read(tmp_path)
