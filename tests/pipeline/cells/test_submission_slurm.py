"""Cells on a real SLURM: killed, preempted, out of time, refused, and more of them than an array may have."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from repository import ROOT
from slurm_clusters import needs_cluster, needs_own_cluster, outside_of_jobs, own_cluster

from qurating.pipeline.cells import overview, state, submission
from qurating.pipeline.cells.overview import Cell
from qurating.pipeline.cells.state import State
from qurating.runtime.errors import StageError

pytestmark = [pytest.mark.slurm, pytest.mark.timeout(3600)]

SMALL = ["scale=smoke", "corpus.reader.max_characters_per_domain=60_000", "num_workers=1", "selection=uniform"]
STAGES = "train_lm,evaluate"
JOB = ["hydra/launcher=slurm", "hydra.launcher.mem_gb=3", "hydra.launcher.cpus_per_task=1"]
# a training stands still after each checkpoint, as long as this file is there
HOLD = """

_save = Checkpoints._save


def _save_and_hold(self, trainer):
    import time

    _save(self, trainer)
    while Path("hold").exists():
        time.sleep(0.1)


Checkpoints._save = _save_and_hold
"""
PATIENCE_SECONDS = 1500


@dataclass
class Project:
    """A copy of the project, with a model that was trained undisturbed, and artifacts of which only that is missing."""

    folder: Path
    undisturbed: dict[str, str]

    def copy_of_artifacts(self, name: str) -> Path:
        copy = self.folder / name
        shutil.copytree(self.folder / "undisturbed", copy, ignore=shutil.ignore_patterns("models", "evaluations", ".*"))
        return copy

    def submit(self, name: str, artifacts: Path, *overrides: str, stages: str = STAGES) -> Path:
        """Submit one cell, detached; returns the folder of its sweep."""
        sweep = self.folder / name
        given = [f"hydra.sweep.dir={sweep}", f"paths.artifacts={artifacts}", f"stage=[{stages}]", *overrides]
        run(self.folder, "-m", *SMALL, *JOB, "hydra.launcher.detach=true", *given)
        return sweep


def run(folder: Path, *arguments: str) -> str:
    environment = outside_of_jobs() | {"OMP_NUM_THREADS": "1"}  # equal to the bit on one thread alone
    command = [sys.executable, "run.py", *arguments]
    ran = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, timeout=1200)
    assert ran.returncode == 0, ran.stdout + ran.stderr
    return ran.stdout


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    folder = tmp_path_factory.mktemp("project")
    for name in ("conf", "qurating"):
        shutil.copytree(ROOT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "run.py", folder)
    with open(folder / "qurating/training/checkpoints.py", "a", encoding="utf-8") as file:
        file.write(HOLD)
    stages = f"stage=[prepare_corpus,select,order,{STAGES}]"
    run(folder, "hydra.mode=RUN", *SMALL, stages, "paths.artifacts=undisturbed", "hydra.run.dir=run")
    return Project(folder, trained(folder / "undisturbed"))


def trained(artifacts: Path) -> dict[str, str]:
    """The hashes of what a training has written: weights, losses along it, held-out losses; and the final loss."""
    (model,) = artifacts.glob("models/[!.]*/manifest.json")
    (evaluation,) = artifacts.glob("evaluations/[!.]*/metrics.json")
    files = json.loads(model.read_text(encoding="utf-8"))["files"]
    found = {name: files[name]["sha256"] for name in ("model.safetensors", "metrics.csv", "curve.parquet")}
    return found | {"loss": json.loads(evaluation.read_text(encoding="utf-8"))["overall"]["nats_per_token"]}


def until(happened: Callable[[], object], what: str, sweep: Path) -> None:
    started = time.monotonic()
    while not happened():
        assert time.monotonic() - started < PATIENCE_SECONDS, f"no {what}: {overview.read(sweep)}\n{log(sweep)}"
        time.sleep(0.2)


def log(sweep: Path) -> str:
    return "".join(file.read_text(encoding="utf-8") for file in sorted(sweep.glob(".submitit/*/*_log.*")))


def only(sweep: Path) -> Cell:
    (cell,) = overview.read(sweep).cells
    return cell


def held(artifacts: Path, step: int, sweep: Path) -> State:
    """The state of the cell once it stands still after a step."""
    file = f"models/.*.partial/checkpoints/step={step}.ckpt"
    until(lambda: list(artifacts.glob(file)), f"checkpoint of step {step}", sweep)
    found = State.read(sweep / "0" / state.STATE)
    assert found
    return found


@needs_cluster
def test_a_cell_that_is_killed_ends_as_if_it_had_not_been(project: Project) -> None:
    """The command returns at once, twice, and a job of its own compares the cells, by the config of that time."""
    artifacts, hold = project.copy_of_artifacts("killed"), project.folder / "hold"
    hold.touch()
    sweep = project.submit("first", artifacts, stages=f"{STAGES},analyse")
    running = held(artifacts, 4, sweep)
    looked = only(sweep)
    assert (looked.state, looked.stage, looked.place, looked.num_stages) == ("running", "train_lm", 1, 2)
    assert looked.progress
    assert (looked.progress.total, looked.progress.unit) == (15, "steps")
    os.kill(running.process.pid, signal.SIGKILL)
    hold.unlink()
    until(lambda: overview.read(sweep).exit_status != 3, "end of a killed cell", sweep)
    assert (only(sweep).state, overview.read(sweep).exit_status) == ("killed", 1)
    assert "SLURM says FAILED" in only(sweep).note
    assert "1 of 1 cells failed:\n  0 (the only cell): SLURM says FAILED" in log(sweep)
    comparison = overview.read(sweep).comparison
    assert comparison
    assert (comparison.state, comparison.note) == ("killed", "no cell is complete")

    original = (project.folder / "conf/config.yaml").read_text(encoding="utf-8")
    again = project.submit("again", artifacts, stages=f"{STAGES},analyse")
    (project.folder / "conf/config.yaml").write_text(original.replace("\nseed: 0", "\nseed: 999"), encoding="utf-8")
    until(lambda: overview.read(again).exit_status != 3, "end of the same command again", again)
    (project.folder / "conf/config.yaml").write_text(original, encoding="utf-8")
    assert overview.read(again).exit_status == 0, log(again)
    assert "resuming from step 4 of 15" in log(again)
    assert trained(artifacts) == project.undisturbed
    assert "Report: " in log(again)
    assert len(list(artifacts.glob("analyses/*/report.html"))) == 1


@pytest.fixture(scope="module")
def own_slurm() -> Iterator[None]:
    """A SLURM with two partitions, one of which takes the node from the other, and with arrays of two tasks at most."""
    settings = (
        "MaxArraySize=2\nPreemptType=preempt/partition_prio\nPreemptMode=REQUEUE\n"
        "PartitionName=low Nodes=NODE PriorityTier=1 PreemptMode=REQUEUE MaxTime=60\n"
        "PartitionName=high Nodes=NODE PriorityTier=10 PreemptMode=OFF"
    )
    with own_cluster(settings) as conf, pytest.MonkeyPatch.context() as patch:
        patch.setenv("SLURM_CONF", conf)
        yield


@needs_own_cluster
@pytest.mark.usefixtures("own_slurm")
def test_a_cell_that_is_preempted_and_then_out_of_time_ends_as_if_it_had_not_been(project: Project) -> None:
    artifacts, hold = project.copy_of_artifacts("stopped"), project.folder / "hold"
    hold.touch()
    # every signal before the limit counts as a time-out, if the limit is ten minutes at most
    limits = ["hydra.launcher.timeout_min=10", "hydra.launcher.signal_delay_s=60", "hydra.launcher.partition=low"]
    sweep = project.submit("stopped_sweep", artifacts, *limits)
    preempted = held(artifacts, 4, sweep)
    other = ["sbatch", "--partition=high", "--exclusive", "--output=/dev/null", "--wrap=sleep 1"]
    subprocess.run(other, check=True, capture_output=True, timeout=600)
    until(lambda: restarts(preempted.job) == 1, "preemption", sweep)

    timed_out = held(artifacts, 8, sweep)  # until then it has gone on from step 4
    assert timed_out.process != preempted.process
    # the limit comes while it stands still, however long it took to get there
    set_limit(timed_out.job, 2 + int(time.time() - timed_out.started) // 60)
    until(lambda: restarts(timed_out.job) == 2, "requeue at the time limit", sweep)
    set_limit(timed_out.job, 60)
    hold.unlink()
    until(lambda: overview.read(sweep).exit_status != 3, "end", sweep)

    assert only(sweep).state == "finished", log(sweep)
    printed = log(sweep)
    assert [printed.count(f"resuming from step {step} of 15") for step in (4, 8)] == [1, 1]
    assert "this job is timed-out" in printed
    assert trained(artifacts) == project.undisturbed


def restarts(job: str | None) -> int:
    shown = subprocess.run(
        ["scontrol", "show", "job", str(job)], check=True, capture_output=True, text=True, timeout=600
    )
    return int(shown.stdout.partition("Restarts=")[2].split()[0])


def set_limit(job: str | None, minutes: int) -> None:
    changed = ["scontrol", "update", f"JobId={job}", f"TimeLimit={minutes}"]
    subprocess.run(changed, check=True, capture_output=True, text=True, timeout=600)


def settings(folder: Path, **more: object) -> dict[str, object]:
    own = {"mem_gb": 1, "timeout_min": 30, "cpus_per_task": 1, "max_num_timeout": 0}
    return {"submitit_folder": f"{folder}/%j", "array_parallelism": 64, **own, **more}


@needs_own_cluster
@pytest.mark.usefixtures("own_slurm")
def test_more_cells_than_an_array_may_have(tmp_path: Path) -> None:
    cells = [("a cell", str(number)) for number in range(5)]
    jobs = submission.submit(os.path.join, cells, settings(tmp_path))
    arrays = [job.job_id.partition("_") for job in jobs]
    assert [task for _, _, task in arrays] == ["0", "1", "0", "1", ""]
    assert len({array for array, _, _ in arrays}) == 3
    results = [tmp_path / job.job_id / f"{job.job_id}_0_result.pkl" for job in jobs]
    until(lambda: all(result.is_file() for result in results), "results", tmp_path)
    assert [job.results() for job in jobs] == [[f"a cell/{number}"] for number in range(5)]


@needs_own_cluster
@pytest.mark.usefixtures("own_slurm")
@pytest.mark.parametrize(
    ("wrong", "parts"),
    [
        ({"partition": "lwo"}, ["hydra.launcher.partition=lwo", "low (at most 1:00:00)"]),
        ({"partition": "low", "timeout_min": 61}, ["hydra.launcher.timeout_min=61", "at most 1:00:00 (partition low)"]),
        ({"mem_gb": 9999}, ["hydra.launcher.mem_gb=9999", "2 CPUs, "]),
        ({"cpus_per_task": 3}, ["hydra.launcher.cpus_per_task=3", "2 CPUs, "]),
        ({"gpus_per_node": 9}, ["hydra.launcher.gpus_per_node=9", "gpu:2"]),
        ({"mem_per_cpu": "9999G", "mem_gb": None}, ["hydra.launcher.mem_per_cpu=9999G", "2 CPUs, "]),
        ({"gres": "disk:1"}, ["hydra.launcher.gres=disk:1", "gpu:2"]),
        ({"constraint": "fast"}, ["hydra.launcher.constraint=fast"]),
    ],
)
def test_a_job_that_cannot_run_is_refused(tmp_path: Path, wrong: dict[str, object], parts: list[str]) -> None:
    with pytest.raises(StageError) as refused:
        submission.submit(os.path.join, [("a", "b")], settings(tmp_path, **wrong))
    for part in parts:
        assert part in str(refused.value)


@needs_own_cluster
@pytest.mark.usefixtures("own_slurm")
def test_a_cluster_that_does_not_answer(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = Path(os.environ["SLURM_CONF"]).read_text(encoding="utf-8")
    ports = "".join(
        line if not line.startswith("SlurmctldPort=") else "SlurmctldPort=1\n" for line in there.splitlines(True)
    )
    (tmp_path / "slurm.conf").write_text(ports, encoding="utf-8")
    monkeypatch.setenv("SLURM_CONF", str(tmp_path / "slurm.conf"))
    with pytest.raises(StageError, match=r"SLURM does not answer .*hydra/launcher=local"):
        submission.submit(os.path.join, [("a", "b")], settings(tmp_path))
