"""What is printed at the end of a sweep: the methods over their seeds, otherwise the table of cells."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from results_example import run

from qurating.artifacts.files import write_json
from qurating.evaluation.methods import rows
from qurating.evaluation.runs import Run, runs_of
from qurating.pipeline.sweep import _print_comparison


def compared(root: Path, names: list[str], part: str = "") -> Path:
    """What `analyse` leaves for two cells of this comparison."""
    folder = root / "analyses" / "cells-00ff"
    folder.mkdir(parents=True)
    write_json(folder / "answer.json", rows(runs_of(root, names, part)))
    write_json(folder / "table.json", [])
    return folder


def test_several_seeds_have_the_table_of_methods(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [
        run(tmp_path, method, loss + seed / 10, seed).split(" ")[0]
        for method, loss in (("uniform", 3.0), ("top-k", 2.9))
        for seed in (0, 1)
    ]
    run(tmp_path, "another sweep's", 2.0)
    _print_comparison(compared(tmp_path, names), tmp_path)
    printed = capsys.readouterr().out
    assert [line.split(" | ")[0].strip("| ") for line in printed.splitlines()[3:5]] == ["top-k", "uniform"]
    assert "another sweep" not in printed
    table = pq.read_table(tmp_path / "results" / "cells-00ff" / "results.parquet")
    assert table["method"].to_pylist() == ["top-k", "uniform"]
    assert table["num_seeds"].to_pylist() == [2, 2]
    for end in ("csv", "md", "tex"):
        assert str(tmp_path / "results" / "cells-00ff" / f"results.{end}") in printed


def test_a_part_that_was_not_evaluated_is_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [run(tmp_path, "uniform", 3.0, seed).split(" ")[0] for seed in (0, 1)]
    _print_comparison(compared(tmp_path, names, "prsoe"), tmp_path)
    told = "No cell has a result in the table of methods (part not evaluated: it has no part 'prsoe', but prose)"
    assert told in capsys.readouterr().out


def test_cells_that_failed_have_rows_in_the_table(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [run(tmp_path, "uniform", 3.0, seed).split(" ")[0] for seed in (0, 1)]
    failed = [Run("cell 3", "failed", "method=mix lr=1e+30", problem="the lm diverged")]
    _print_comparison(compared(tmp_path, names), tmp_path, failed)
    assert "mix" not in capsys.readouterr().out  # they are told below the table
    table = pq.read_table(tmp_path / "results" / "cells-00ff" / "results.parquet")
    assert table["method"].to_pylist() == ["uniform", "method=mix lr=1e+30"]
    assert table["state"].to_pylist() == ["complete", "failed"]
    assert (table["notes"].to_pylist()[1], table["evaluations"].to_pylist()[1]) == (["the lm diverged"], ["cell 3"])
    assert "the lm diverged: cell 3" in (tmp_path / "results" / "cells-00ff" / "results.md").read_text(encoding="utf-8")


def test_one_seed_each_has_the_table_of_cells(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [run(tmp_path, method, loss).split(" ")[0] for method, loss in (("uniform", 3.0), ("top-k", 2.9))]
    _print_comparison(compared(tmp_path, names), tmp_path)
    printed = capsys.readouterr().out
    assert "(no cell to compare)" in printed
    assert "| method" not in printed
    assert "Results: " in printed
    assert (tmp_path / "results" / "cells-00ff" / "results.csv").is_file()
