"""The analysis of a rated corpus, as a stage."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rated_example import NUM_ROWS, analysed, on_disk, rater, scorer
from results_example import corpus, evaluated, make, trained, with_curve

from qurating.artifacts.files import read_json, write_json, write_table
from qurating.artifacts.seeds import replicated
from qurating.reports.analyses import drawing
from qurating.runtime.errors import StageError
from qurating.stages.comparison import analyse_ratings as module

TABLES = (
    *("by_group", "variance", "preferences", "first_window", "correlations", "clusters", "percentiles", "retention"),
    *("overlap", "temperatures", "normalisation", "duplicates", "results", "curves"),
    *("judge", "judge_compared", "rater_accuracy", "rater_calibration", "scorer", "annotated"),
)
NOT_DRAWN = {"percentiles", "judge_compared", "scorer"}


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without figures, which take most of the time."""
    monkeypatch.setattr(drawing, "draw", lambda *_: 0)


def test_every_table_figure_and_document_is_there(tmp_path: Path) -> None:
    texts = corpus(tmp_path, "c")
    made = on_disk(tmp_path, lang=["en", "de", "fr"] * (NUM_ROWS // 3))
    check = tmp_path / "subsets/a-checked"
    write_json(
        check / "report.json",
        {"tokens": 10, "flagged": {"near_duplicates": {"tokens": 1}, "contamination": {"tokens": 2}}},
    )
    write_json(check / "manifest.json", {"inputs": {"subset": "subsets/a (0123)"}, "labels": []})
    annotation = tmp_path / "annotations/x"
    write_table(annotation / "annotation.parquet", pa.table({"id": [1000, 1001, 1002, 5], "lqs": [1.0, 2.0, 3.0, 4.0]}))
    summary = read_json(made["j"] / "summary.json")
    of_other = {
        "with": "judgments/grades",
        "mode": "individual",
        "criteria": {"style": {"num_pairs": 90, "agree": 0.8}},
    }
    write_json(made["j"] / "summary.json", summary | {"compared": of_other})
    models: dict[str, Any] = {"raters": rater(tmp_path / "models/rater"), "scorers": scorer(tmp_path / "models/scorer")}
    models["evaluations"] = trainings(tmp_path, made, texts)
    output = tmp_path / "out"
    counts = analysed(output, made, label_columns=["lang"], checks=[check], annotations=annotation, **models)
    tables = {name: pq.read_table(output / f"tables/{name}.parquet") for name in TABLES}
    assert all(len(table) for table in tables.values())
    assert {file.stem for file in (output / "tables").glob("*.csv")} == set(TABLES)
    assert set(tables["by_group"]["grouping"].to_pylist()) == {"all", "domain", "cluster", "lang"}
    assert set(tables["retention"]["grouping"].to_pylist()) == {"domain", "cluster", "lang"}
    assert set(tables["variance"]["explained_by"].to_pylist()) == {"domain", "length", "cluster", "lang"}
    assert "annotated lqs (x)" in tables["correlations"]["second"].to_pylist()
    assert tables["duplicates"]["subset"].to_pylist() == ["a"]
    drawn = {file.stem for file in (output / "plots").iterdir()}
    assert drawn == {*TABLES, "by_cluster", "retention_by_cluster", "by_lang", "retention_by_lang"} - NOT_DRAWN
    assert counts["figures"] == len(drawn)
    documents = pq.read_table(output / "documents.parquet")
    assert counts["documents"] == len(documents)
    assert set(documents["cluster"].to_pylist()) == set(tables["clusters"]["cluster"].to_pylist())
    assert {"kept.a", "kept.b", "column.lang", "windows.lqs"} <= set(documents.column_names)
    about = read_json(output / "about.json")
    assert about["judge_is_simulated"]
    assert about["subset_labels"] == {"a": "label of a", "b": "label of b", "top": "top-k", "uniform": "uniform"}
    assert about["criteria"] == {"style": "ratings/r", "facts": "ratings/r", "lqs": "scores/s"}
    trained_on = ["subsets/top", "subsets/uniform"]
    assert about["artifacts"]["subsets"] == ["subsets/a", "subsets/b", *trained_on]
    assert {"subsets/" + name for name in tables["retention"]["subset"].to_pylist()} >= {*trained_on}
    assert about["artifacts"]["evaluations"] == ["evaluations/lm-top", "evaluations/lm-uniform"]
    assert (counts["subsets"], counts["evaluations"]) == (4, 2)
    losses = dict(zip(*(tables["results"][name].to_pylist() for name in ("method", "loss")), strict=True))
    assert losses == {"top-k": 2.0, "uniform": 3.0}
    assert [row["method"] for row in read_json(output / "answer.json")] == ["top-k", "uniform"]
    assert about["manifests"]["checks"]["subsets/a-checked"] == read_json(check / "manifest.json")
    assert read_json(output / "warnings.json")  # the pairs may be those that the rater was trained on


def trainings(root: Path, made: dict[str, Path], texts: str) -> list[Path]:
    """Evaluated models: of a top-k selection that is not among the subsets, and of uniform."""
    found = []
    for name, label, rows in (("top", "top-k", np.arange(0, NUM_ROWS, 5)), ("uniform", "uniform", np.arange(40))):
        model = with_curve(root, trained(root, label, tag=name, texts=texts), {10: 4.0, 100: 3.0})
        evaluated(root, model, {"top-k": 2.0, "uniform": 3.0}[label], texts=texts)
        lengths = pq.read_table(made["c"] / "train", columns=["length"])["length"].to_numpy()
        index = {"id": 1000 + rows, "shard": rows // 80, "row": rows % 80, "length": lengths[rows]}
        write_table(root / "subsets" / name / "subset.parquet", pa.table(index))
        found.append(root / f"evaluations/lm-{name}")
    return found


@pytest.mark.usefixtures("undrawn")
def test_a_repeated_run_is_the_same(tmp_path: Path) -> None:
    made = on_disk(tmp_path)
    for name in ("one", "two"):
        analysed(tmp_path / name, made)
    for file in sorted((tmp_path / "one").rglob("*.*")):
        if file.is_file():
            assert file.read_bytes() == (tmp_path / "two" / file.relative_to(tmp_path / "one")).read_bytes(), file


@pytest.mark.usefixtures("undrawn")
def test_a_sample_says_so_and_finds_all_judged_pairs(tmp_path: Path) -> None:
    made = on_disk(tmp_path)
    counts = analysed(tmp_path / "out", made, max_sequences=60, max_clustered=30, max_explored=15)
    said = {
        "sequences": "every 4th sequence",
        "clusters": "every 8th sequence",
        "windows": "every 4th shard",
        "documents": "every 16th sequence, besides extremes",
    }
    assert counts["sampling"] == read_json(tmp_path / "out/about.json")["sampling"] == said
    table = pq.read_table(tmp_path / "out/tables/preferences.parquet")
    assert json.loads(table.schema.metadata[b"qurating"])["sampling"] == said
    analysed(tmp_path / "whole", made)
    whole = pq.read_table(tmp_path / "whole/tables/preferences.parquet")
    assert table.to_pylist() == whole.to_pylist()


@pytest.mark.usefixtures("undrawn")
def test_a_sample_has_all_annotated_sequences(tmp_path: Path) -> None:
    made = on_disk(tmp_path)
    annotation = tmp_path / "annotations/x"
    ids = list(range(1000, 1000 + NUM_ROWS, 7))
    write_table(
        annotation / "annotation.parquet", pa.table({"id": ids, "lqs": [float(place) for place in range(len(ids))]})
    )
    for name, most in (("sample", 60), ("whole", 1000)):
        analysed(tmp_path / name, made, max_sequences=most, annotations=annotation, clusters=0)
    tables = [pq.read_table(tmp_path / name / "tables/annotated.parquet") for name in ("sample", "whole")]
    assert tables[0].to_pylist() == tables[1].to_pylist()
    assert tables[0]["id"].to_pylist() == ids


@pytest.mark.usefixtures("undrawn")
def test_without_texts_there_are_no_clusters_and_it_says_so(tmp_path: Path) -> None:
    made = on_disk(tmp_path)
    for file in (made["c"] / "train").iterdir():
        write_table(file, pq.read_table(file).drop_columns(["text"]))
    analysed(tmp_path / "out", made)
    assert any("no column text" in line for line in read_json(tmp_path / "out/warnings.json"))
    assert len(pq.read_table(tmp_path / "out/tables/clusters.parquet")) == 0
    analysed(tmp_path / "none", made, clusters=0)
    assert not any("no column text" in line for line in read_json(tmp_path / "none/warnings.json"))


@pytest.mark.usefixtures("undrawn")
def test_ratings_alone_are_enough(tmp_path: Path) -> None:
    made = on_disk(tmp_path)
    counts = analysed(tmp_path / "out", made, ratings=made["s"], subsets=[], judgments=[], clusters=0)
    assert counts["subsets"] == 0
    assert len(pq.read_table(tmp_path / "out/tables/preferences.parquet")) == 0
    (said,) = read_json(tmp_path / "out/warnings.json")
    assert said.startswith("The windows of ")  # the corpus has no tokenizer
    assert not read_json(tmp_path / "out/about.json")["judge_is_simulated"]


@pytest.mark.usefixtures("undrawn")
def test_constant_and_bad_ratings_are_told(tmp_path: Path) -> None:
    made = on_disk(tmp_path)
    for file in (made["s"] / "train").iterdir():
        table = pq.read_table(file)
        values = np.full(len(table), 0.1)
        if file.stem == "00000":
            values[0] = np.nan
        write_table(file, table.set_column(table.column_names.index("lqs_average"), "lqs_average", pa.array(values)))
    analysed(tmp_path / "out", made)
    said = read_json(tmp_path / "out/warnings.json")
    assert "1 of 240 ratings by lqs are NaN or infinite, and are left out." in said
    assert any(line.startswith("All ratings by lqs are equal") for line in said)
    rows = pq.read_table(tmp_path / "out/tables/variance.parquet").to_pylist()
    assert {row["eta_squared"] for row in rows if row["criterion"] == "lqs"} == {None}


@pytest.mark.usefixtures("undrawn")
def test_a_budget_of_the_whole_corpus_leaves_no_choice(tmp_path: Path) -> None:
    made = on_disk(tmp_path)
    analysed(tmp_path / "out", made, num_tokens=10**9, clusters=0)
    assert any(line.startswith("num_tokens is 1,000,000,000") for line in read_json(tmp_path / "out/warnings.json"))
    assert len(pq.read_table(tmp_path / "out/tables/temperatures.parquet")) == 0


def test_impossible_settings_are_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="at least 1, and clusters 0"):
        analysed(tmp_path / "out", on_disk(tmp_path), max_explored=0)


def test_subsets_are_told_apart_and_figures_show_one_replicate(tmp_path: Path) -> None:
    texts = corpus(tmp_path, "c", seed=3)
    folders = []
    for name, label, budget, seed in (
        *(("a", "uniform", 1, 3), ("b", "uniform", 1, replicated(3, 1)), ("c", "uniform", 2, 3)),
        ("d", "top-k", 1, 3),
    ):
        make(tmp_path, f"subsets/{name}", "select", {"corpus": texts}, {"label": label, "n": budget, "seed": seed})
        folders.append(tmp_path / "subsets" / name)
    rated = [make(tmp_path, f"ratings/{name}", "rate", {"corpus": texts}, {"n": name}) for name in "xy"]
    for name, ratings in zip("ef", rated, strict=True):  # the same settings, other ratings
        given = {"corpus": texts, "ratings": ratings}
        make(tmp_path, f"subsets/{name}", "select", given, {"label": "top-r", "seed": 3})
        folders.append(tmp_path / "subsets" / name)
    labels, drawn = module._labels(tmp_path / "corpora/c", folders)
    assert (drawn.pop("e"), drawn.pop("f")) == (labels.pop("e"), labels.pop("f")) == ("top-r (e)", "top-r (f)")
    assert drawn == {"a": "uniform, n=1", "c": "uniform, n=2", "d": "top-k"}
    assert labels == {
        "a": "uniform, n=1, replicate 0",
        "b": "uniform, n=1, replicate 1",
        "c": "uniform, n=2",
        "d": "top-k",
    }
