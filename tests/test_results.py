"""python -m qurating.results, as a person would run it."""

import subprocess
import sys
from pathlib import Path

import pytest
from repository import ROOT
from results_example import run, trained

from qurating.results import main


def test_the_table_is_printed_and_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for seed in (0, 1):
        run(tmp_path, "uniform", 3.0 + seed / 10, seed)
        run(tmp_path, "top-k", 2.9 + seed / 20, seed)
    trained(tmp_path, "top-k", seed=2)
    assert main([str(tmp_path)]) == 0
    printed = capsys.readouterr().out
    head, _, *lines = ([cell.strip() for cell in line.strip("| ").split(" | ")] for line in printed.splitlines()[:5])
    assert [line[head.index("method")] for line in lines] == ["top-k", "uniform", "top-k"]
    assert "not evaluated" in printed
    assert {file.name for file in (tmp_path / "results").iterdir()} == {
        *("results.parquet", "results.csv", "results.md", "results.tex")
    }
    assert "lm-top-k-shuffle-1 (" in (tmp_path / "results/results.md").read_text(encoding="utf-8")
    assert main([str(tmp_path), "--output", str(tmp_path / "mine"), "--format", "csv", "latex"]) == 0  # also again
    assert {file.name for file in (tmp_path / "mine").iterdir()} == {"results.csv", "results.tex"}


def test_without_a_result_nothing_is_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 2
    assert capsys.readouterr().err.startswith(f"Error: no evaluation in {tmp_path}")
    trained(tmp_path, "uniform")
    assert main([str(tmp_path)]) == 2
    printed = capsys.readouterr()
    assert "not evaluated" in printed.out
    assert "has a result: nothing is written" in printed.err
    assert not (tmp_path / "results").exists()


def test_a_folder_where_nothing_can_be_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    run(tmp_path, "uniform", 3.0)
    (tmp_path / "file").write_text("")
    assert main([str(tmp_path), "--output", str(tmp_path / "file")]) == 2
    assert "the table cannot be written" in capsys.readouterr().err


def test_the_command_line(tmp_path: Path) -> None:
    run(tmp_path, "uniform", 3.0)

    def results(*arguments: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "qurating.results", *arguments]
        return subprocess.run(command, capture_output=True, text=True, cwd=ROOT, timeout=600)

    assert results(str(tmp_path)).returncode == 0
    nothing = results(str(tmp_path / "nowhere"))
    assert (nothing.returncode, nothing.stderr) == (2, f"Error: {tmp_path}/nowhere is not a folder\n")
    assert results(str(tmp_path), "--format", "word").returncode == 2
