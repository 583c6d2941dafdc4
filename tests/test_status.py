"""python -m qurating.status, as a person would run it."""

import json
import subprocess
import sys
import time
from pathlib import Path

import pytest
from repository import ROOT
from status_example import begin, gone, half_trained, write_state

from qurating import status
from qurating.pipeline.cells import state
from qurating.pipeline.cells.state import recorded
from qurating.status import main


def test_a_table_of_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begin(tmp_path, 3)
    write_state(tmp_path, 0)
    half_trained(tmp_path)
    write_state(tmp_path, 1, gone(), state="failed", reason="the budget is too large", log="multirun/1.err")
    assert main([str(tmp_path)]) == 3
    head, shared, _, running, failed, note, waiting = capsys.readouterr().out.splitlines()
    assert head == f"{tmp_path}: 3 cells: 1 running, 1 failed, 1 queued"
    assert shared == "all cells: +experiment=select_and_train"
    assert running.startswith("0     running  train_lm (2 of 3)  10 of 40 steps  ")
    assert " at least 3 min " in running
    assert running.endswith("  replicate=0")
    assert failed.split() == ["1", "failed", "train_lm", "(2", "of", "3)", "replicate=1"]
    assert note.strip() == "the budget is too large; log: multirun/1.err"
    assert waiting.split() == ["2", "queued", "replicate=2"]


def test_json_for_scripts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    begin(tmp_path, 2, compares=True)
    write_state(tmp_path, 0)
    half_trained(tmp_path)
    assert main([str(tmp_path), "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["cells"][0]["progress"] == {"done": 10, "total": 40, "unit": "steps"}
    assert found["cells"][0]["stage"] == "train_lm"
    assert (found["cells"][1]["state"], found["comparison"]["note"]) == ("queued", "after the cells")
    assert found["exit_status"] == 3


def test_the_latest_of_sweeps_and_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main([]) == 2
    assert "there is no sweep and no run" in capsys.readouterr().err
    for day in ("2026-11-29/23-00-00", "2026-11-30/09-00-00"):
        begin(tmp_path / "multirun" / day, 1)
    with recorded(tmp_path / "outputs/2026-11-30/08-00-00" / state.STATE):
        pass
    assert main([]) == 3
    assert capsys.readouterr().out.startswith("multirun/2026-11-30/09-00-00: 1 cells")
    with recorded(tmp_path / "outputs/2026-11-30/10-00-00" / state.STATE):
        pass
    assert main([]) == 0
    assert capsys.readouterr().out.startswith("outputs/2026-11-30/10-00-00: 1 cells: 1 finished")


def test_a_folder_that_is_no_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path / "no such")]) == 2
    assert "is no sweep and no run" in capsys.readouterr().err


def test_it_is_watched_until_nothing_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    begin(tmp_path, 1)
    write_state(tmp_path, 0)
    monkeypatch.setattr(status, "SECONDS_BETWEEN_LOOKS", 17)
    monkeypatch.setattr(time, "sleep", lambda seconds: write_state(tmp_path, 0, state="finished", stage=2))
    assert main([str(tmp_path), "--watch"]) == 0
    assert capsys.readouterr().out.count(f"{tmp_path}: 1 cells") == 2


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.2, "0 s"), (59.6, "1 min 00 s"), (754, "12 min 34 s"), (7_620, "2 h 07 min")]
)
def test_durations(seconds: float, shown: str) -> None:
    assert status._duration(seconds) == shown


def test_a_sweep_whose_first_cell_fails(tmp_path: Path) -> None:
    """A real command, which writes what is looked at."""
    sweep = ["-m", "stage=[select]", "selection=top_k,sample", "hydra.sweep.dir=sweep"]
    command = [sys.executable, str(ROOT / "run.py"), *sweep]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=1200)
    assert ran.returncode == 1
    looked = [sys.executable, "-m", "qurating.status", str(tmp_path / "sweep"), "--json"]
    shown = subprocess.run(looked, cwd=ROOT, capture_output=True, text=True, timeout=600)
    assert shown.returncode == 1, shown.stderr
    first, _ = json.loads(shown.stdout)["cells"]
    assert (first["state"], first["stage"], first["place"], first["num_stages"]) == ("failed", "select", 1, 1)
    assert "does not exist yet: add the stage that makes it" in first["note"]
    assert sorted(first["overrides"]) == ["selection=top_k", "stage=[select]"]
    assert "does not exist yet" in Path(first["log"]).read_text(encoding="utf-8")
