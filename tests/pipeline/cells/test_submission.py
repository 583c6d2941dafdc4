"""What is submitted, by a stand-in for sbatch that keeps what it is given; a real one: test_submission_slurm.py"""

import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hydra import compose
from hydra.errors import CompactHydraException
from omegaconf import DictConfig, OmegaConf
from status_example import begin, gone, write_state

from qurating.artifacts.files import write_json
from qurating.pipeline.cells import failures, slurm, state, submission

CELLS = [("a", str(number)) for number in range(5)]


class Launcher:
    """As much of Hydra's launcher as is needed: settings, and a call that runs a cell."""

    def __init__(self, config: DictConfig) -> None:
        self.config = config
        self.params: dict[str, Any] = OmegaConf.to_container(config.hydra.launcher, resolve=True)  # type: ignore[assignment]
        self.params.pop("_target_")
        self.hydra_context = type("Context", (), {"callbacks": Callbacks()})()

    def __call__(self, *arguments: str) -> str:
        return os.path.join(*arguments)


class Callbacks:
    """Hydra's callbacks, which keep what they are called with."""

    failed = False

    def __init__(self) -> None:
        self.called: list[DictConfig] = []
        self.callbacks = [self]

    def on_multirun_end(self, config: DictConfig, config_name: None) -> None:
        self.called.append(config)


@pytest.fixture
def sbatch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with a stand-in for sbatch: it numbers the scripts that it is given from 1, and keeps them."""
    folder = tmp_path / "bin"
    folder.mkdir()
    script = f"""#!/bin/sh
cd {folder}
number=$(($(ls | grep -c 'job$') + 1))
[ -e refuses_$number ] && echo 'sbatch: error: Batch job submission failed: Invalid qos specification' >&2 && exit 1
cp "$1" $number.job
echo Submitted batch job $number
"""
    for name, content in {
        "sbatch": script,
        "srun": "",
        "scancel": f'#!/bin/sh\necho "$@" >> {folder}/cancelled\n',
    }.items():
        (folder / name).write_text(content)
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setattr(slurm, "too_large", lambda settings: None)
    monkeypatch.setattr(slurm, "max_array_size", lambda: 2)
    return folder


@pytest.fixture
def made(conf: Path, tmp_path: Path) -> Callable[..., Launcher]:
    """Makes a launcher for some overrides."""

    def make(*overrides: str, launcher: str = "slurm") -> Launcher:
        given = [f"hydra/launcher={launcher}", f"hydra.sweep.dir={tmp_path}/sweep", *overrides]
        config = compose("config", given, return_hydra_config=True)
        OmegaConf.set_readonly(config.hydra, False)
        config.hydra.job.num = 0
        return Launcher(config)

    return make


def options(script: Path) -> dict[str, str]:
    return dict(re.findall(r"^#SBATCH --([\w-]+)=(.*)$", script.read_text(), re.MULTILINE))


def test_only_slurm_is_detached(made: Callable[..., Launcher]) -> None:
    assert submission.is_detached(made("hydra.launcher.detach=true").config)
    assert submission.is_detached(made("hydra.launcher.detach=true", launcher="slurm_gpu").config)
    assert not submission.is_detached(made().config)
    assert not submission.is_detached(made("+hydra.launcher.detach=true", launcher="local").config)


def test_cells_are_split_into_arrays(made: Callable[..., Launcher], sbatch: Path, tmp_path: Path) -> None:
    jobs = submission.launch(made("hydra.launcher.array_parallelism=7"), CELLS, 10)
    assert [job.job_id for job in jobs] == ["1_0", "1_1", "2_0", "2_1", "3"]
    arrays = [options(sbatch / f"{number}.job").get("array") for number in (1, 2, 3)]
    assert arrays == ["0-1%2", "0-1%2", None], "at most 7 // 3 of each at once"
    for job, cell in zip(jobs, CELLS, strict=True):
        assert job.submission().args == cell
    known = state.read_jobs(tmp_path / "sweep")
    assert known == {"cells": {"10": "1_0", "11": "1_1", "12": "2_0", "13": "2_1", "14": "3"}, "comparison": None}


def test_at_least_one_task_of_each_array_runs(made: Callable[..., Launcher], sbatch: Path) -> None:
    submission.launch(made("hydra.launcher.array_parallelism=1"), CELLS, 0)
    assert options(sbatch / "1.job")["array"] == "0-1%1"


def test_one_array_where_slurm_does_not_say(
    made: Callable[..., Launcher], sbatch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "max_array_size", lambda: None)
    submission.launch(made(), CELLS, 0)
    assert options(sbatch / "1.job")["array"] == "0-4%5"


def test_a_detached_sweep_is_followed_by_a_comparison(
    made: Callable[..., Launcher], sbatch: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    more = "+hydra.launcher.additional_parameters={begin: now+10, mail-user: me@here}"
    launcher = made("hydra.launcher.detach=true", "hydra.launcher.partition=short", more, launcher="slurm_gpu")
    assert submission.launch(launcher, CELLS, 0) == []
    cells, comparison = options(sbatch / "1.job"), options(sbatch / "4.job")
    assert comparison["dependency"] == "afterany:1:2:3"
    assert (cells["begin"], cells["mem"], cells["gpus-per-node"]) == ("now+10", "480GB", "1")
    assert (comparison["mem"], comparison["cpus-per-task"], comparison["time"]) == ("16GB", "1", "240")
    assert (comparison["partition"], comparison["mail-user"]) == ("short", "me@here")
    assert not {"begin", "array", "gpus-per-node"} & comparison.keys()
    assert state.read_jobs(tmp_path / "sweep")["comparison"] == "4"
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == "Submitted: 5 cells as job 1, 2, 3; job 4 compares them when all have ended"
    assert printed[1].endswith(f"python -m qurating.status {tmp_path}/sweep")
    assert printed[2].endswith("scancel 1 2 3 4")


def test_nothing_is_compared_if_analyse_is_not_chosen(
    made: Callable[..., Launcher], sbatch: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert submission.launch(made("hydra.launcher.detach=true", "stage=[select]"), CELLS[:1], 0) == []
    assert [file.name for file in sbatch.glob("*.job")] == ["1.job"]
    assert "Submitted: 1 cells as job 1\n" in capsys.readouterr().out


def test_the_end_of_a_sweep_calls_what_hydra_calls(made: Callable[..., Launcher], tmp_path: Path) -> None:
    """After it has recorded the cells that ended without a word; a cell that failed has recorded that itself."""
    launcher = made("hydra.launcher.detach=true")
    begin(tmp_path / "sweep", 3, detached=True)
    sweep = tmp_path / "sweep" / state.SWEEP
    write_json(sweep, state.read_sweep(tmp_path / "sweep") | {"process": gone()})
    write_state(tmp_path / "sweep", 1, state="finished")
    write_state(tmp_path / "sweep", 2, state="failed", reason="no such file")
    callbacks = launcher.hydra_context.callbacks
    ends = submission.EndOfSweep(callbacks, launcher.config, submission.Singleton.get_state())
    ends()
    (config,) = callbacks.called
    assert config.hydra.launcher.detach is False
    assert failures.find(tmp_path / "sweep") == {0: failures.Failure("the command has ended", None)}
    assert launcher.config.hydra.launcher.detach is True
    callbacks.failed = True
    with pytest.raises(RuntimeError, match="the comparison failed"):
        ends()


def test_a_refused_array_leaves_none_behind(made: Callable[..., Launcher], sbatch: Path, tmp_path: Path) -> None:
    (sbatch / "refuses_3").touch()
    with pytest.raises(CompactHydraException, match=r"hydra.launcher.qos=night: SLURM says: .*Invalid qos"):
        submission.launch(made("hydra.launcher.qos=night"), CELLS, 0)
    assert (sbatch / "cancelled").read_text().split() == ["1", "2"]
    assert not state.read_jobs(tmp_path / "sweep")


def test_a_refused_comparison_says_that_the_cells_are_submitted(made: Callable[..., Launcher], sbatch: Path) -> None:
    (sbatch / "refuses_2").touch()
    with pytest.raises(CompactHydraException, match=r"the cells are submitted \(job 1\), and the job that compares"):
        submission.launch(made("hydra.launcher.detach=true"), CELLS[:2], 0)


def test_a_machine_without_slurm(made: Callable[..., Launcher], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", os.devnull)
    with pytest.raises(CompactHydraException, match=r"there is no sbatch here.*hydra/launcher=local"):
        submission.launch(made(), CELLS, 0)


def test_a_cell_that_is_too_large_is_not_submitted(
    made: Callable[..., Launcher], sbatch: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(slurm, "too_large", lambda settings: f"hydra.launcher.mem_gb={settings['mem_gb']}: too large")
    with pytest.raises(CompactHydraException, match=r"hydra.launcher.mem_gb=6: too large"):
        submission.launch(made(), CELLS, 0)
    assert not list(sbatch.glob("*.job"))


def test_batches_that_wait_for_each_other_cannot_be_detached(made: Callable[..., Launcher], sbatch: Path) -> None:
    with pytest.raises(CompactHydraException, match="array_parallelism"):
        submission.launch(made("hydra.launcher.detach=true", "hydra.sweeper.max_batch_size=2"), CELLS, 0)
    assert not list(sbatch.glob("*.job"))
