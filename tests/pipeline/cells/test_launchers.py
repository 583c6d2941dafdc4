"""Cells as processes of this machine: how many at once, with how many threads, and what ends them."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from repository import ROOT

from qurating.pipeline.cells import state
from qurating.pipeline.cells.launchers import distinct, tell_stages
from qurating.runtime.processes import usable_cores

# Cells that do what a test needs, instead of stages.
APP = """
import json, os, pathlib, signal, time
import hydra
from qurating.pipeline import hydra_internals, resolvers
from qurating.pipeline.cells import failures

resolvers.register_resolvers()
hydra_internals.admit_launchers()
HERE = pathlib.Path(__file__).parent


@hydra.main(version_base="1.3", config_path="conf", config_name="config")
def main(config):
    name, running = config.cell, HERE / "running"
    (running / name).touch()
    (HERE / f"{name}.json").write_text(json.dumps({
        "at once": len([each for each in running.iterdir() if not each.suffix]),
        "threads": [os.environ.get(f"{kind}_NUM_THREADS") for kind in ("OMP", "MKL", "OPENBLAS")],
        "gpus": os.environ["CUDA_VISIBLE_DEVICES"],
        "process": os.getpid(),
    }))
    while name in ("a", "b") and not ((HERE / "a.json").exists() and (HERE / "b.json").exists()):
        time.sleep(0.05)  # each waits for the other: both run at once, or the test never ends
    if name == "endless deaf":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    (running / name).with_suffix(".ready").touch()
    while name.startswith("endless"):
        time.sleep(0.05)
    (running / name).with_suffix(".ready").unlink()
    (running / name).unlink()
    if name == "killed":
        os.kill(os.getpid(), signal.SIGKILL)


if __name__ == "__main__":
    main()
    print(json.dumps({number: failure.reason for number, failure in failures.find(HERE / "sweep").items()}))
"""


@pytest.fixture
def app(tmp_path: Path) -> Path:
    (tmp_path / "app.py").write_text(APP, encoding="utf-8")
    (tmp_path / "running").mkdir()
    (tmp_path / "conf").mkdir()
    launcher = (ROOT / "conf" / "hydra" / "launcher" / "local.yaml").read_text(encoding="utf-8")
    (tmp_path / "conf" / "hydra" / "launcher").mkdir(parents=True)
    (tmp_path / "conf" / "hydra" / "launcher" / "local.yaml").write_text(launcher, encoding="utf-8")
    config = "defaults: [_self_, {override hydra/launcher: local}]\ncell: null\n"
    config += "hydra: {mode: MULTIRUN, sweep: {dir: sweep}}\n"
    (tmp_path / "conf" / "config.yaml").write_text(config, encoding="utf-8")
    return tmp_path


def start(app: Path, *arguments: str) -> subprocess.Popen[str]:
    environment = {key: value for key, value in os.environ.items() if not key.endswith("_NUM_THREADS")}
    environment["CUDA_VISIBLE_DEVICES"] = "4,7"
    return subprocess.Popen(
        [sys.executable, "app.py", *arguments],
        cwd=app,
        env=environment | {"PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def said(app: Path, cell: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((app / f"{cell}.json").read_text(encoding="utf-8"))
    return found


def test_two_at_once_and_a_killed_one_leaves_the_others_alone(app: Path) -> None:
    task = start(app, "cell=a,b,killed,c", "hydra.launcher.max_cells=3", "hydra.launcher.gpus_per_cell=1")  # of two
    printed, _ = task.communicate(timeout=1200)
    assert task.returncode == 0, printed  # run.py makes it 1: pipeline.sweep
    cells = {cell: said(app, cell) for cell in ("a", "b", "killed", "c")}
    assert max(cell["at once"] for cell in cells.values()) == 2
    assert {tuple(cell["threads"]) for cell in cells.values()} == {(str(max(1, usable_cores() // 2)),) * 3}
    assert {cells["a"]["gpus"], cells["b"]["gpus"]} == {"4", "7"}
    reasons = json.loads(printed.splitlines()[-1])
    assert reasons == {"2": "the process ended without a result (killed, or out of memory)"}
    assert "cell 2 has failed; " in printed
    assert "4 of 4 cells have ended" in printed
    log = json.loads((app / "sweep" / "2" / "failure.json").read_text(encoding="utf-8"))["log"]
    assert Path(log).is_file()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT], ids=lambda number: number.name)
def test_a_signal_to_the_command_ends_all_cells(app: Path, number: signal.Signals) -> None:
    """Also one that ignores SIGTERM; and SIGTERM where SIGINT is ignored, as in the background of a script."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN if number == signal.SIGTERM else signal.default_int_handler)
    task = start(app, "cell=endless,endless deaf,endless3", "hydra.launcher.max_cells=2")
    signal.signal(signal.SIGINT, before)
    while len(list(app.glob("running/*.ready"))) < 2:
        assert task.poll() is None, task.communicate()[0]
        time.sleep(0.05)
    processes = [said(app, cell)["process"] for cell in ("endless", "endless deaf")]
    task.send_signal(number)
    task.communicate(timeout=1200)
    assert task.returncode != 0
    for process in processes:
        with pytest.raises(ProcessLookupError):
            os.kill(process, 0)
    assert not (app / "endless3.json").exists()


@pytest.mark.parametrize("setting", ["max_cells=many", "threads_per_cell=0"])
def test_a_number_that_means_nothing_is_refused(app: Path, setting: str) -> None:
    task = start(app, "cell=a,b", f"hydra.launcher.{setting}")
    printed, _ = task.communicate(timeout=1200)
    assert task.returncode == 1
    assert "is a whole number of at least 1" in printed
    assert "Traceback" not in printed


def test_cells_are_called_by_what_tells_them_apart() -> None:
    cells = [["selection=top_k", "seed=0"], ["selection=mix", "seed=0"]]
    assert distinct(cells) == [["selection=top_k"], ["selection=mix"]]
    assert distinct(cells[:1]) == [[]]


def test_each_stage_of_a_running_cell_is_told_once(tmp_path: Path) -> None:
    told: dict[int, str] = {}
    with state.recorded(tmp_path / "1" / state.STATE) as recorder:
        assert list(tell_stages(tmp_path, [0, 1], told)) == []  # no stage yet, and a cell without a file
        recorder.will_run({"judge": "judgments/a", "rate": "ratings/b"}, tmp_path)
        recorder.begins("judge")
        assert list(tell_stages(tmp_path, [0, 1], told)) == ["cell 1: judge (judgments/a)"]
        assert list(tell_stages(tmp_path, [0, 1], told)) == []
        recorder.begins("rate")
        assert list(tell_stages(tmp_path, [1], told)) == ["cell 1: rate (ratings/b)"]
