"""What is shown of an artifact is what its files hold."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from qurating.artifacts.files import write_json
from qurating.reports import tracked
from qurating.training.tracking import Histogram, Point, Table

NUM_ROWS = 40


def artifact(root: Path, name: str, stage: str, **given: Any) -> Path:
    folder = root / name
    (folder / "train").mkdir(parents=True)
    manifest = {"stage": stage, "fingerprint": "0f" * 32, "counts": {}, "seconds": 1.5, "inputs": {}, "config": {}}
    write_json(folder / "manifest.json", manifest | given)
    return folder


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A corpus of two shards, its ratings, and a subset of the second shard's even rows."""
    corpus = artifact(tmp_path, "corpora/c", "prepare_corpus", counts={"tokens": 9, "by": {"a.b": 1}, "names": ["x"]})
    ratings = artifact(tmp_path, "ratings/r", "rate", inputs={"corpus": "corpora/c (0f0f)"})
    for shard in range(2):
        name = f"train/0000{shard}.parquet"
        texts = [f"<b>{shard} {row}</b> " + "long " * 100 * (row % 3) for row in range(NUM_ROWS)]
        columns: dict[str, Any] = {"text": texts, "document_id": [f"d{row}" for row in range(NUM_ROWS)]}
        columns |= {
            "domain": ["web"] * NUM_ROWS,
            "length": np.arange(NUM_ROWS),
            "id": np.arange(NUM_ROWS) + 100 * shard,
        }
        pq.write_table(pa.table(columns), corpus / name)
        rated = {"quality_average": np.arange(NUM_ROWS) + 100.0 * shard, "id": columns["id"]}
        pq.write_table(pa.table(rated), ratings / name, row_group_size=10)
    inputs = {"corpus": "corpora/c (0f0f)", "ratings": "ratings/r (0f0f)"}
    subset = artifact(tmp_path, "subsets/s", "select", inputs=inputs, config={"criterion": "quality"})
    rows = np.arange(0, NUM_ROWS, 2)
    pq.write_table(pa.table({"shard": np.ones(len(rows), np.int64), "row": rows}), subset / "subset.parquet")
    return tmp_path


def test_counts_and_inputs_of_every_artifact(root: Path) -> None:
    shown = tracked.shown(root / "corpora/c")
    assert shown.summary == {"prepare_corpus/tokens": 9, "prepare_corpus/by/a.b": 1, "prepare_corpus/seconds": 1.5}
    assert (shown.source.name, shown.source.fingerprint, shown.inputs) == ("corpora/c", "0f" * 32, [])
    assert shown.source.counts == {"tokens": 9}
    assert [each.name for each in tracked.shown(root / "subsets/s").inputs] == ["corpora/c", "ratings/r"]


def test_ratings_are_a_histogram_over_all_rows_or_evenly_spaced_parts(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    every = tracked.shown(root / "ratings/r").media["rate/quality"]
    assert isinstance(every, Histogram)
    assert (sum(every.counts), every.edges[0], every.edges[-1]) == (2 * NUM_ROWS, 0.0, 139.0)
    monkeypatch.setattr(tracked, "MAX_RATED", 20)
    part = tracked.shown(root / "ratings/r").media["rate/quality"]
    assert isinstance(part, Histogram)
    assert (sum(part.counts), part.edges[0], part.edges[-1]) == (20, 0.0, 109.0)


def test_a_histogram_leaves_out_what_is_not_finite() -> None:
    assert sum(tracked.histogram(np.array([1.0, np.nan, np.inf, 2.0])).counts) == 2
    assert list(tracked.histogram(np.array([np.nan])).counts) == [0]
    assert sum(tracked.histogram(np.ones(3, np.float32)).counts) == 3


def test_examples_are_selected_and_rejected_rows_with_their_ratings_and_the_start_of_their_texts(root: Path) -> None:
    table = tracked.shown(root / "subsets/s").media["select/examples"]
    assert isinstance(table, Table)
    assert [row[0] for row in table.rows] == ["selected"] * 5 + ["rejected"] * 5
    for kind, domain, rating, tokens, document, text in table.rows:
        assert tokens % 2 == (kind == "rejected")  # the length of a row is its number here
        assert (domain, rating, document) == ("web", 100.0 + tokens, f"d{tokens}")
        assert text.startswith(f"<b>1 {tokens}</b> ")
        assert len(text) <= tracked.EXCERPT_CHARACTERS + 1
        assert text.endswith("…") == (tokens % 3 > 0)
    assert tracked.shown(root / "subsets/s").media["select/examples"] == table


def test_a_subset_without_ratings_has_examples_without_them_and_an_empty_one_has_none(root: Path) -> None:
    inputs = {"corpus": "corpora/c (0f0f)"}
    for name, rows in (("few", [3]), ("none", [])):
        subset = artifact(root, f"subsets/{name}", "select", inputs=inputs, config={"criterion": None})
        columns = {"shard": np.zeros(len(rows), np.int64), "row": np.array(rows, np.int64)}
        pq.write_table(pa.table(columns), subset / "subset.parquet")
    table = tracked.shown(root / "subsets/few").media["select/examples"]
    assert isinstance(table, Table)
    assert [row[:4] for row in table.rows][:1] == [["selected", "web", None, 3]]
    assert len(table.rows) == 6
    assert tracked.shown(root / "subsets/none").media == {}


def test_the_metrics_of_a_training_are_points_by_step(tmp_path: Path) -> None:
    folder = artifact(tmp_path, "models/m", "train_rater")
    lines = "step,train/loss,validation/loss\n4,0.5,\n4,,0.25\n"
    (folder / "metrics.csv").write_text(lines, encoding="utf-8")
    (folder / "card").mkdir()
    Image.new("RGB", (2, 2)).save(folder / "card/calibration.png")
    shown = tracked.shown(folder)
    assert shown.points == [
        Point("train_rater/step", 4, {"train_rater/train/loss": 0.5}),
        Point("train_rater/step", 4, {"train_rater/validation/loss": 0.25}),
    ]
    assert shown.media == {"train_rater/calibration": folder / "card/calibration.png"}


def test_an_evaluation_has_its_domains_and_tasks_their_measures(tmp_path: Path) -> None:
    folder = artifact(tmp_path, "evaluations/e", "evaluate", counts={"perplexity": 8.0})
    measures = {"perplexity": 9.0, "nats_per_token": 2.0, "bits_per_byte": None, "num_tokens": 5}
    write_json(folder / "metrics.json", {"domains": {"a.org": measures}})
    assert tracked.shown(folder).summary == {
        "evaluate/perplexity": 8.0,
        "evaluate/seconds": 1.5,
        "evaluate/perplexity_by_domain/a.org": 9.0,
        "evaluate/nats_per_token_by_domain/a.org": 2.0,
    }
    folder = artifact(tmp_path, "task_results/t", "evaluate_tasks")
    write_json(folder / "tasks.json", {"tasks": {"arc": {"accuracy": 0.5, "notes": None}}})
    found = tracked.shown(folder).summary
    assert found == {"evaluate_tasks/seconds": 1.5, "evaluate_tasks/tasks/arc/accuracy": 0.5}


def test_a_comparison_is_its_table_and_its_figures(tmp_path: Path) -> None:
    folder = artifact(tmp_path, "analyses/a", "analyse")
    (folder / "table.csv").write_text('method,tokens,change\n"top-k, τ",5,\n', encoding="utf-8")
    (folder / "plots").mkdir()
    Image.new("RGB", (2, 2)).save(folder / "plots/changes.png")
    found = tracked.shown(folder).media
    assert found["analyse/table"] == Table(["method", "tokens", "change"], [["top-k, τ", 5.0, None]])
    assert found["analyse/changes"] == folder / "plots/changes.png"


@pytest.mark.parametrize("stage", ["annotate_proxy", "rescore_proxy"])
def test_annotated_scores_are_a_histogram(tmp_path: Path, stage: str) -> None:
    folder = artifact(tmp_path, "annotations/a", stage)
    pq.write_table(pa.table({"lqs": [0.5, 1.5]}), folder / "annotation.parquet")
    found = tracked.shown(folder).media[f"{stage}/lqs"]
    assert isinstance(found, Histogram)
    assert sum(found.counts) == 2


def test_an_analysis_of_ratings_has_its_figures_and_the_table_of_results(tmp_path: Path) -> None:
    folder = artifact(tmp_path, "analyses/r", "analyse_ratings")
    (folder / "plots").mkdir()
    Image.new("RGB", (2, 2)).save(folder / "plots/results.png")
    (folder / "tables").mkdir()
    (folder / "tables/results.csv").write_text('"method","loss"\n')
    assert set(tracked.shown(folder).media) == {"analyse_ratings/results"}  # no model was evaluated
    (folder / "tables/results.csv").write_text('"method","loss"\n"top-k",2.5\n')
    media = tracked.shown(folder).media
    assert media["analyse_ratings/table"] == Table(["method", "loss"], [["top-k", 2.5]])
    assert media["analyse_ratings/results"] == folder / "plots/results.png"
