"""Cells of a sweep: their names and their baselines."""

from pathlib import Path

import pyarrow.parquet as pq
from analysis_example import DELT, METHODS, Page, run
from sweep_example import learned, rescored, sweep

from qurating.artifacts.files import read_json, write_json, write_table
from qurating.artifacts.seeds import replicated
from qurating.evaluation.comparison import read_cells


def test_cells_on_other_documents_are_not_compared(tmp_path: Path) -> None:
    cells = sweep(tmp_path, METHODS[:2])
    file = cells[1]["evaluate"] / "sequences.parquet"
    write_table(file, pq.read_table(file).slice(5))
    run(cells, tmp_path / "out")
    other = next(row for row in read_json(tmp_path / "out" / "table.json") if not row["is_reference"])
    assert other["reference"] is None
    assert other["change_percent"] is None
    assert other["perplexity"] is not None


def test_cells_of_one_method_get_distinct_names_and_the_baseline_most_like_them(tmp_path: Path) -> None:
    cells = sweep(tmp_path, ("uniform", "uniform", "writing_style top-k", "writing_style top-k"))
    for place, cell in enumerate(cells):
        for stage in ("select", "train_lm"):
            manifest = read_json(cell[stage] / "manifest.json")
            manifest["config"]["seed"] = manifest["identity"]["config"]["seed"] = place % 2 + 1
            write_json(cell[stage] / "manifest.json", manifest)
    run([*cells, cells[0]], tmp_path / "out")
    rows = read_json(tmp_path / "out" / "table.json")
    assert {row["method"]: row["reference"] for row in rows} == {
        "uniform, seed=1": "uniform, seed=1",
        "uniform, seed=2": "uniform, seed=2",
        "writing_style top-k, seed=1": "uniform, seed=1",
        "writing_style top-k, seed=2": "uniform, seed=2",
    }
    assert "the uniform cells alone have perplexities from" in (tmp_path / "out" / "report.html").read_text(
        encoding="utf-8"
    )


def test_replicates_are_named_by_their_number_and_compared_within(tmp_path: Path) -> None:
    cells = sweep(tmp_path, ("uniform", "uniform", "writing_style top-k", "writing_style top-k"))
    seeds = {"prepare_corpus": 5}
    for place, cell in enumerate(cells):
        seeds |= dict.fromkeys(("select", "order", "train_lm"), replicated(5, place % 2))
        for stage, seed in seeds.items():
            manifest = read_json(cell[stage] / "manifest.json")
            manifest["identity"]["config"]["seed"] = seed
            write_json(cell[stage] / "manifest.json", manifest)
    run(cells, tmp_path / "out")
    rows = read_json(tmp_path / "out" / "table.json")
    assert {row["method"]: row["reference"] for row in rows} == {
        "uniform, replicate=0": "uniform, replicate=0",
        "uniform, replicate=1": "uniform, replicate=1",
        "writing_style top-k, replicate=0": "uniform, replicate=0",
        "writing_style top-k, replicate=1": "uniform, replicate=1",
    }


def test_an_order_is_part_of_the_name_and_no_baseline(tmp_path: Path) -> None:
    cells = sweep(tmp_path, ("uniform",))
    manifest = read_json(cells[0]["order"] / "manifest.json")
    manifest["config"] = {"method": "curriculum", "criterion": "required_expertise", "descending": False}
    write_json(cells[0]["order"] / "manifest.json", manifest)
    (cell,) = read_cells(cells)
    assert cell.method == "uniform, curriculum by required_expertise (reversed)"
    assert not cell.is_uniform


def test_cells_are_told_apart_by_what_their_scores_are_made_of(tmp_path: Path) -> None:
    cells = sweep(tmp_path, DELT[1:3])
    pds = cells[1] | learned(tmp_path, cells[1]["prepare_corpus"], denominator="none")
    assert [cell.method for cell in read_cells([*cells, pds])] == [
        "uniform, folding by lqs",
        "lqs top-k, denominator=next_visited",
        "lqs top-k, denominator=none",
    ]
    again = cells[1] | rescored(tmp_path, cells[1])
    assert [cell.method for cell in read_cells([*cells, again])][1:] == [
        "lqs top-k, denominator=next_visited",
        "lqs top-k, denominator=none",
    ]
    for number, other in enumerate((pds, again)):
        run([*cells, other], tmp_path / f"out{number}")
        text = Page((tmp_path / f"out{number}" / "report.html").read_text(encoding="utf-8")).text
        assert "Denominator: next visited; visited every 2 steps, of 4 in all." in text
        assert "Denominator: none (the scores of PDS); visited every 2 steps, of 4 in all." in text
    run([again], tmp_path / "alone")  # no scorer learned the annotation's own scores
    text = Page((tmp_path / "alone" / "report.html").read_text(encoding="utf-8")).text
    assert "Annotation: annotations/rescored" in text
    assert "next visited" not in text


def test_imported_ratings_are_shown_as_what_they_are(tmp_path: Path) -> None:
    cells = sweep(tmp_path, METHODS[:2])
    for cell in cells:
        for stage in ("judge", "train_rater"):
            cell.pop(stage, None)
        if "rate" in cell:
            cell["import_ratings"] = cell.pop("rate")
    run(cells, tmp_path / "out")
    text = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8")).text
    assert "These ratings were imported: another program made them." in text
    assert "log-odds that the judge prefers" not in text
