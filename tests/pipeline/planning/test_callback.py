"""`plan=true` ends a command with its plan, and leaves nothing behind."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from omegaconf import OmegaConf
from plan_example import listing
from repository import ROOT

from qurating.pipeline.planning import callback


def run(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(ROOT / "run.py"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=600, cwd=folder)


def test_a_plan_of_the_papers_sweep_needs_no_network_and_writes_nothing(tmp_path: Path) -> None:
    found = run(tmp_path, "-m", "plan=true", "scale=paper", "selection=uniform,top_k", "hydra/launcher=slurm_gpu")
    assert found.returncode == 0, found.stderr
    assert "Plan of 2 cells" in found.stdout
    assert "$3,3" in found.stdout
    assert not list(tmp_path.iterdir())


def test_a_plan_of_one_run_writes_nothing(tmp_path: Path) -> None:
    arguments = ["plan=true", "hydra.mode=RUN", "corpus=jsonl", "corpus.paths=missing.jsonl"]
    found = run(tmp_path, *arguments)
    assert found.returncode == 1
    assert "missing.jsonl" in found.stderr
    (tmp_path / "missing.jsonl").write_text('{"text": "to be or not to be"}\n', encoding="utf-8")
    before = listing(tmp_path)
    found = run(tmp_path, *arguments, "stage=[prepare_corpus]")
    assert found.returncode == 0, found.stderr
    assert "Plan of 1 cell," in found.stdout
    assert listing(tmp_path) == before


def given(plan: Any) -> Any:
    return OmegaConf.create({"plan": plan})


@pytest.mark.parametrize("start", ["on_run_start", "on_multirun_start"])
def test_whatever_goes_wrong_the_run_does_not_start(start: str, monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    """Hydra turns an exception of a callback into a warning, and goes on: only the end of the process stops it."""

    def broken(*_: Any) -> None:
        raise RuntimeError("a fault in the plan")

    monkeypatch.setattr(callback, "report_of", broken)
    with pytest.raises(SystemExit) as stop:
        getattr(callback.Plan(), start)(given(True))
    assert stop.value.code == 1
    assert "a fault in the plan" in capsys.readouterr().err


def test_another_value_is_refused(capsys: Any) -> None:
    with pytest.raises(SystemExit) as stop:
        callback.Plan().on_multirun_start(given("yes please"))
    assert stop.value.code == 1
    assert "plan=yes please" in capsys.readouterr().err


@pytest.mark.parametrize("value", [None, False])
def test_without_a_plan_the_command_goes_on(value: Any) -> None:
    callback.Plan().on_run_start(given(value))
    callback.Plan().on_multirun_start(given(value))
