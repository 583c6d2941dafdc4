"""The analysis stage on a small sweep: its table, its page, and what hostile text can do to it."""

import base64
import csv
import math
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from analysis_example import DELT, METHODS, Page, run
from sweep_example import CRITERIA, DOMAINS, sweep

from qurating.artifacts.files import read_json, write_json, write_table
from qurating.reports.table import format_table
from qurating.runtime.errors import StageError

HOSTILE = "<script>alert(1)</script> $x^{ & \x1b[31m"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[list[dict[str, Path]], Path]:
    root = tmp_path_factory.mktemp("sweep")
    cells = sweep(root, METHODS)
    run(cells, root / "out")
    return cells, root / "out"


def test_the_table_says_what_the_evaluations_say(made: tuple[list[dict[str, Path]], Path]) -> None:
    cells, output = made
    rows = {row["method"]: row for row in read_json(output / "table.json")}
    assert set(rows) == set(METHODS)
    for cell, method in zip(cells, METHODS, strict=True):
        sequences = pq.read_table(cell["evaluate"] / "sequences.parquet").to_pandas()
        expected = math.exp(sequences.nll_nats.sum() / sequences.num_tokens.sum())
        assert rows[method]["perplexity"] == pytest.approx(expected)
        for domain, part in sequences.groupby("domain"):
            got = rows[method]["domains"][domain]["perplexity"]
            assert got == pytest.approx(math.exp(part.nll_nats.sum() / part.num_tokens.sum()))
        subset = pq.read_table(cell["select"] / "subset.parquet")
        assert rows[method]["tokens"] == sum(subset["length"].to_pylist())
    worse = rows["educational_value sample τ=2"]
    ratio = worse["perplexity"] / rows["uniform"]["perplexity"]
    assert worse["change_percent"] == pytest.approx(100 * (ratio - 1))
    assert worse["change_low"] < worse["change_percent"] < worse["change_high"]
    assert worse["reference"] == "uniform"
    assert rows["uniform"]["is_reference"]
    assert rows["uniform"]["change_percent"] is None


def test_the_csv_holds_the_same_numbers(made: tuple[list[dict[str, Path]], Path]) -> None:
    rows = read_json(made[1] / "table.json")
    with open(made[1] / "table.csv", newline="", encoding="utf-8") as stream:
        lines = list(csv.DictReader(stream))
    assert [line["method"] for line in lines] == [row["method"] for row in rows]
    domain = DOMAINS[0]
    for line, row in zip(lines, rows, strict=True):
        assert float(line["perplexity"]) == row["perplexity"]
        assert float(line[f"perplexity {domain}"]) == row["domains"][domain]["perplexity"]


def test_cells_that_failed_are_named_at_the_top(made: tuple[list[dict[str, Path]], Path], tmp_path: Path) -> None:
    assert "cells failed" not in Page((made[1] / "report.html").read_text(encoding="utf-8")).text
    failed = [f"method=mix {HOSTILE}", *(f"replicate={n}" for n in range(30))]
    run(made[0][:2], tmp_path / "out", failed=failed)
    page = Page((tmp_path / "out/report.html").read_text(encoding="utf-8"))
    assert "31 of 33 cells failed They are missing on this page: method=mix <script>alert(1)</script>" in " ".join(
        page.text.split()
    )
    assert "replicate=18 and 11 more" in page.text
    assert "script" not in {tag for tag, _ in page.tags}


def test_the_page_is_one_file_without_scripts_or_requests(made: tuple[list[dict[str, Path]], Path]) -> None:
    page = Page((made[1] / "report.html").read_text(encoding="utf-8"))
    assert not {"script", "link", "iframe", "object", "base", "form"} & {tag for tag, _ in page.tags}
    for tag, attributes in page.tags:
        for name, value in attributes.items():
            assert not name.startswith("on"), (tag, name)
            if name in ("src", "href"):
                assert (value or "").startswith(("data:image/svg+xml;base64,", "#")), (tag, value)
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    links = {(attributes.get("href") or "")[1:] for tag, attributes in page.tags if tag == "a"}
    assert links <= ids
    for method in METHODS:
        assert method in page.text
    assert "No conclusion about the\nreal criteria" in page.text
    images = sum(tag == "img" for tag, _ in page.tags)
    assert images == len(list((made[1] / "plots").glob("*.png"))) == 9


def test_it_is_the_same_every_time(made: tuple[list[dict[str, Path]], Path], tmp_path: Path) -> None:
    cells, output = made
    run(cells[::-1], tmp_path / "again")
    for name in ("table.json", "table.csv"):
        assert (tmp_path / "again" / name).read_bytes() == (output / name).read_bytes()


def test_hostile_text_is_only_text(tmp_path: Path) -> None:
    cells = sweep(tmp_path, METHODS[:2], domains=(*DOMAINS[:2], HOSTILE), extra="<script>alert(2)</script>")
    # the first document must be seen: give it the median of the lowest ratings
    rate = cells[1]["rate"] / "train" / "00000.parquet"
    table = pq.read_table(rate)
    low = np.sort(table[f"{CRITERIA[0]}_average"].to_numpy())
    ranked = np.concatenate([low, pq.read_table(rate.with_name("00001.parquet"))[f"{CRITERIA[0]}_average"].to_numpy()])
    values = table[f"{CRITERIA[0]}_average"].to_numpy().copy()
    values[0] = np.sort(ranked)[round(0.7 * (len(ranked) - 1))] + 1e-9
    place = table.schema.get_field_index(f"{CRITERIA[0]}_average")
    write_table(rate, table.set_column(place, f"{CRITERIA[0]}_average", pa.array(values)))
    judged: dict[str, object] = {"judge": HOSTILE, "failed": {HOSTILE: 3}, "criteria": {HOSTILE: {}}}
    judged |= {"by_domain": [{"domain": "a row of a table"}], "findings": ["<script>alert(5)</script>"]}
    write_json(cells[1]["judge"] / "summary.json", judged)
    manifest = read_json(cells[1]["select"] / "manifest.json")
    manifest["config"]["label"] = manifest["name"] = "<script>alert(3)</script>"
    write_json(cells[1]["select"] / "manifest.json", manifest)
    run(cells, tmp_path / "out", title="<script>alert(4)</script>\x1b")
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    assert "script" not in {tag for tag, _ in page.tags}
    for source in (1, 2, 3, 4, 5):  # domain and judge, document, method, title, what stands out of a judge
        assert f"<script>alert({source})</script>" in page.text
    assert "a row of a table" not in page.text
    assert "\x1b" not in text
    assert "\x1b" not in format_table(read_json(tmp_path / "out" / "table.json"))


def test_without_baseline_ratings_or_evaluation_there_is_still_a_page(tmp_path: Path) -> None:
    cells = sweep(tmp_path, METHODS)
    bare = {key: cells[1][key] for key in ("prepare_corpus", "select", "order", "train_lm", "evaluate")}
    (cells[1]["train_lm"] / "metrics.csv").unlink()
    unfinished = {key: cells[2][key] for key in ("prepare_corpus", "select")}
    counts = run([bare, unfinished], tmp_path / "out")
    assert counts["methods"] == 2
    assert counts["evaluated"] == 1
    rows = read_json(tmp_path / "out" / "table.json")
    assert [row["change_percent"] for row in rows] == [None, None]
    assert "no uniform cell" in format_table(rows)
    assert "No cell used ratings or scores" in (tmp_path / "out" / "report.html").read_text(encoding="utf-8")


def test_the_page_is_cautious_where_budgets_are_unequal(tmp_path: Path) -> None:
    cells = sweep(tmp_path, METHODS)
    run(cells, tmp_path / "equal")
    assert "Unequal budgets" not in (tmp_path / "equal" / "report.html").read_text(encoding="utf-8")
    file = cells[1]["select"] / "subset.parquet"
    subset = pq.read_table(file)
    write_table(file, subset.slice(0, len(subset) // 2))
    run(cells, tmp_path / "unequal")
    text = Page((tmp_path / "unequal" / "report.html").read_text(encoding="utf-8")).text
    # beside the sentence about the best method, below the table, and below the figure of the changes
    assert text.count("Unequal budgets: from ") == 3
    assert text.index("Unequal budgets") < text.index("Measure.")


def test_no_cell_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no cell"):
        run([], tmp_path / "out")


def test_ratings_of_another_corpus_are_refused(tmp_path: Path) -> None:
    cells = sweep(tmp_path, METHODS[:2])
    file = cells[1]["rate"] / "train" / "00001.parquet"
    table = pq.read_table(file)
    write_table(file, table.take(list(range(len(table)))[::-1]))
    with pytest.raises(StageError, match="ids differ"):
        run(cells, tmp_path / "out")


def test_lqs_takes_the_place_of_judge_and_ratings(tmp_path: Path) -> None:
    cells = sweep(tmp_path, DELT)
    counts = run(cells, tmp_path / "out")
    rows = read_json(tmp_path / "out" / "table.json")
    # a folded uniform subset is not the baseline, and is compared with it
    assert {row["method"]: row["reference"] for row in rows} == dict.fromkeys(DELT, "uniform")
    assert [row["method"] for row in rows if row["is_reference"]] == ["uniform"]
    text = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    page = Page(text)
    for absent in ("Judge and rater", "simulated judge", "log-odds"):
        assert absent not in page.text
    sections = {attributes.get("id") for tag, attributes in page.tags if tag == "div"}
    assert "lqs" in sections
    assert "judgments" not in sections
    ids = {attributes["id"] for _, attributes in page.tags if "id" in attributes}
    figures = {"ratings_0", "selected_0", "inside_0", "annotation_0", "trajectory_0", "scorer_0"}
    assert figures <= ids
    assert counts["plots"] == sum(tag == "img" for tag, _ in page.tags)
    drawn = (cells[2]["train_scorer"] / "predicted_vs_annotated.png").read_bytes()
    assert base64.b64encode(drawn).decode() in text
    found = read_json(cells[2]["train_scorer"] / "validation.json")
    assert f"{found['spearman']:+.3f}".replace("-", "−") in page.text
    assert f"{100 * found['top']['f1']:.1f}" in page.text
    assert "left out 2" in page.text
    assert "target loss after 4.125" in page.text


def test_without_a_language_model_the_page_is_of_the_scores(tmp_path: Path) -> None:
    (cell,) = sweep(tmp_path, DELT[2:3])
    before = {
        stage: folder for stage, folder in cell.items() if stage not in ("select", "order", "train_lm", "evaluate")
    }
    run([before, before], tmp_path / "out")
    page = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert {"ratings_0", "annotation_0", "scorer_0"} <= {a["id"] for _, a in page.tags if "id" in a}


def test_two_hundred_cells_stay_readable(tmp_path: Path) -> None:
    cells = sweep(tmp_path, ("uniform", *(f"{CRITERIA[i % 4]} sample τ={i}" for i in range(199))))
    run(cells, tmp_path / "out", num_resamples=50)
    page = Page((tmp_path / "out" / "report.html").read_text(encoding="utf-8"))
    assert "educational_value sample τ=111" in page.text
    assert "The figures show 24 methods" in page.text
    assert (tmp_path / "out" / "report.html").stat().st_size < 4_000_000
    lines = format_table(read_json(tmp_path / "out" / "table.json")).splitlines()
    assert len(lines) == 200 + 4
