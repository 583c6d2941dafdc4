"""The table of methods at the end of a sweep: of its own cells, printed if it says more than the table of cells."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from results_example import run

from qurating.pipeline.sweep import _print_results


def test_the_table_is_of_the_cells_of_the_sweep(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [
        run(tmp_path, method, loss + seed / 10, seed).split(" ")[0]
        for method, loss in (("uniform", 3.0), ("top-k", 2.9))
        for seed in (0, 1)
    ]
    run(tmp_path, "another sweep's", 2.0)
    _print_results(tmp_path, names, "4_cells-00ff")
    printed = capsys.readouterr().out
    assert [line.split(" | ")[1].strip() for line in printed.splitlines()[2:4]] == ["top-k", "uniform"]
    assert "another sweep" not in printed
    table = pq.read_table(tmp_path / "results" / "4_cells-00ff" / "results.parquet")
    assert table["method"].to_pylist() == ["top-k", "uniform"]
    assert table["num_seeds"].to_pylist() == [2, 2]
    for end in ("csv", "md", "tex"):
        assert str(tmp_path / "results" / "4_cells-00ff" / f"results.{end}") in printed


def test_with_one_seed_each_it_is_written_and_not_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = [run(tmp_path, method, loss).split(" ")[0] for method, loss in (("uniform", 3.0), ("top-k", 2.9))]
    _print_results(tmp_path, names, "2_cells-00ff")
    printed = capsys.readouterr().out
    assert "| method" not in printed
    assert printed.startswith("Results: ")
    assert (tmp_path / "results" / "2_cells-00ff" / "results.csv").is_file()
