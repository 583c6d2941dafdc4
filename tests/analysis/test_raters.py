"""The tables of judges, raters and scorers, against what their stages wrote."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rated_example import DOMAINS, rated, rater, scorer

from qurating.analysis import raters
from qurating.analysis.rated import Counts, Rated, Source
from qurating.artifacts.files import read_json, write_json, write_table
from qurating.artifacts.seeds import seed_for
from qurating.metrics.held_out import SEQUENCES, split
from qurating.metrics.shares import wilson
from qurating.runtime.errors import StageError

AGREED = {"num_pairs": 40, "orders_agree": 0.9, "orders_agree_interval": [0.77, 0.96]}


def only(table: pa.Table, **where: Any) -> dict[str, Any]:
    (row,) = [row for row in table.to_pylist() if all(row[name] == value for name, value in where.items())]
    return row


def judged(folder: Path, **more: Any) -> Path:
    own = AGREED | {"positional_bias": 0.02, "kendall_tau": 0.5, "num_ranked": 8}
    write_json(folder / "summary.json", {"mode": "pairwise", "criteria": {"style": own}} | more)
    return folder


def test_a_judge_by_criterion_and_by_domain(tmp_path: Path) -> None:
    by_domain = [{"domain": "web", "failed": 0.1, "criteria": {"style": AGREED | {"num_pairs": 12}}}]
    table, compared = raters.judge([judged(tmp_path / "judgments/j", by_domain=by_domain)])
    whole, of_web = table.to_pylist()
    assert [whole[name] for name in ("judgments", "mode", "grouping", "num_pairs")] == ["j", "pairwise", "all", 40]
    assert [whole[name] for name in ("orders_agree", "low", "high", "kendall_tau")] == [0.9, 0.77, 0.96, 0.5]
    assert (of_web["grouping"], of_web["group"], of_web["num_pairs"]) == ("domain", "web", 12)
    assert of_web["kendall_tau"] is None
    assert len(compared) == 0


def test_imported_judgments_say_how_many_they_are(tmp_path: Path) -> None:
    write_json(tmp_path / "summary.json", {"method": "imported", "criteria": {"a": {"num_pairs": 3, "confident": 0.5}}})
    (row,) = raters.judge([tmp_path])[0].to_pylist()
    assert (row["mode"], row["num_pairs"], row["confident"], row["orders_agree"]) == ("imported", 3, 0.5, None)


def test_pairwise_against_individual(tmp_path: Path) -> None:
    measured = {"num_pairs": 30, "agree": 0.8, "correlation": 0.6, "kendall_tau": 0.4}
    other = {"with": "judgments/grades", "mode": "individual", "method": "votes", "criteria": {"style": measured}}
    _, table = raters.judge([judged(tmp_path / "judgments/j", compared=other)])
    assert table.to_pylist() == [
        {
            "judgments": "j",
            "mode": "pairwise",
            "compared_with": "judgments/grades",
            "compared_mode": "individual",
            "criterion": "style",
            "num_pairs": 30,
            "agree": 0.8,
            "correlation": 0.6,
            "kendall_tau": 0.5,
            "compared_kendall_tau": 0.4,
        }
    ]


def test_the_accuracy_of_a_rater_is_that_of_its_validation(tmp_path: Path) -> None:
    folder = rater(tmp_path / "models/m")
    report = read_json(folder / "validation.json")
    table = raters.rater_accuracy([folder])
    own = only(table, criterion="style", grouping="all")
    assert (own["rater"], own["accuracy"]) == ("m", report["accuracy"]["style"])
    assert (own["low"], own["high"]) == wilson(own["accuracy"], report["num_pairs"]["style"])
    of_style = report["by_criterion"]["style"]
    for grouping, group, expected in (
        ("confidence", "0.75-1.00", of_style["by_confidence"]["0.75-1.00"]),
        ("length", "shorter", of_style["length"]["where_judge_prefers_shorter"]),
        ("orders", "disagree", of_style["order_flips"]["where_judge_flips"]),
    ):
        row = only(table, criterion="style", grouping=grouping, group=group)
        assert {name: row[name] for name in expected} == expected
    assert {row["group"] for row in table.to_pylist() if row["grouping"] == "domain"} == set(DOMAINS)


def test_judgments_of_one_pair_count_once_in_an_interval(tmp_path: Path) -> None:
    row = only(raters.rater_accuracy([rater(tmp_path)]), criterion=None, grouping="domain", group="web")
    assert row["num_pairs"] > 20
    assert (row["low"], row["high"]) == wilson(row["accuracy"], row["num_pairs"] // 2)  # of two criteria


def test_a_group_without_pairs_has_no_accuracy(tmp_path: Path) -> None:
    folder = rater(tmp_path)
    report = read_json(folder / "validation.json")
    report["by_domain"]["empty"] = {"accuracy": None, "num_pairs": 0}
    report["by_criterion"]["style"]["order_flips"] = None  # judgments without votes by order
    write_json(folder / "validation.json", report)
    table = raters.rater_accuracy([folder])
    row = only(table, group="empty")
    assert (row["num_pairs"], row["accuracy"], row["low"], row["high"]) == (0, None, None, None)
    assert {row["criterion"] for row in table.to_pylist() if row["grouping"] == "orders"} == {"facts"}


def test_the_calibration_is_that_of_the_validation(tmp_path: Path) -> None:
    folder = rater(tmp_path)
    report = read_json(folder / "validation.json")["by_criterion"]
    rows = raters.rater_calibration([folder]).to_pylist()
    for criterion in ("style", "facts"):
        bins = [row for row in rows if row["criterion"] == criterion]
        error, surer, number = raters.calibration_error(bins)
        assert error == pytest.approx(report[criterion]["calibration"]["ece"])
        assert number == 300
        assert surer is not None
        # the judge of this example is surer by style, and knows nothing of facts that the rater knows
        assert (surer > 0) == (criterion == "facts")
    assert raters.calibration_error([]) == (None, None, 0)


def test_a_scorer_by_domain(tmp_path: Path) -> None:
    folder = scorer(tmp_path / "models/s", 0.8)
    report = read_json(folder / "validation.json")
    table = raters.scorer([folder])
    whole = only(table, grouping="all")
    assert whole["spearman"] == report["spearman"]
    assert whole["low"] < whole["spearman"] < whole["high"]
    assert (whole["num_sequences"], whole["top_fraction"], whole["top_f1"]) == (120, 0.3, report["top"]["f1"])
    assert only(table, group="code")["spearman"] == report["by_domain"]["code"]["spearman"]


@pytest.mark.parametrize(("setting", "made"), [("raters", scorer), ("scorers", rater)])
def test_an_artifact_of_another_stage_is_refused(tmp_path: Path, setting: str, made: Any) -> None:
    given: dict[str, Any] = {"judgments": [], "raters": [], "scorers": []} | {setting: [made(tmp_path / "models/m")]}
    with pytest.raises(StageError, match=rf"inputs\.{setting}: models/m has no validation.json of train_"):
        raters.tables(**given)


def test_without_artifacts_the_tables_are_empty() -> None:
    assert {name: len(table) for name, table in raters.tables([], [], []).items()} == dict.fromkeys(
        ("judge", "judge_compared", "rater_accuracy", "rater_calibration", "scorer"), 0
    )
    assert len(raters.annotated(lambda _: rated({"lqs": [1.0]}, ["a"]), [])) == 0


def scored(root: Path, count: int, seed: int = 4) -> tuple[Rated, Path]:
    """Scores of a scorer that learned from an annotation of these `count` sequences, and of one that is not here."""
    draw = np.random.default_rng(seed)
    lqs = draw.normal(3e-5, 1e-5, count)
    annotation, name = root / "annotations/a", "annotations/a"
    ids = np.append(np.arange(1000, 1000 + count)[::-1], 5)
    write_table(annotation / "annotation.parquet", pa.table({"id": ids, "lqs": np.append(lqs, 0.0)}))
    write_json(annotation / "manifest.json", {"name": name, "fingerprint": "0123456789abcdef" * 4})
    learned = {
        "inputs": {"annotation": f"{name} (0123456789abcdef)"},
        "config": {"validation_fraction": 0.2, "seed": 7},
    }
    write_json(root / "models/s/manifest.json", learned)
    write_json(root / "scores/s/manifest.json", {"stage": "score", "inputs": {"scorer": "models/s (00)"}})
    write_json(root / "ratings/r/manifest.json", {"stage": "rate", "inputs": {}})
    domains = ["web", "code"] * (count // 2)
    found = rated({"lqs": draw.normal(size=count), "style": draw.normal(size=count)}, domains)
    sources = {"lqs": Source(root / "scores/s", "lqs"), "style": Source(root / "ratings/r", "style")}
    return Rated(found.ids, found.lengths, found.groups, found.ratings, sources, found.file_sizes, 1), annotation


def test_annotated_scores_beside_predicted_ones(tmp_path: Path) -> None:
    given, annotation = scored(tmp_path, 50)
    asked: list[Counts] = []
    table = raters.annotated(lambda ids: asked.append(ids) or given, [annotation])  # type: ignore[func-returns-value]
    assert asked[0].tolist() == [*range(1049, 999, -1), 5]
    rows = table.to_pylist()
    assert {(row["annotation"], row["criterion"]) for row in rows} == {("a", "lqs")}  # style is no score of a scorer
    assert [row["id"] for row in rows] == list(range(1049, 999, -1))  # id 5 is not in the corpus
    assert [row["predicted"] for row in rows] == given.ratings["lqs"][::-1].tolist()
    assert {row["id"]: row["domain"] for row in rows}[1001] == "code"
    validation, training = split(51, 0.2, seed_for(7, *SEQUENCES))
    assert [row["held_out"] for row in rows] == [place in validation for place in range(50)]
    # in the scorer's unit: deviations from the mean of what it learned from
    lqs = pq.read_table(annotation / "annotation.parquet")["lqs"].to_numpy()
    expected = (lqs[:50] - lqs[training].mean()) / lqs[training].std()
    assert [row["annotated"] for row in rows] == pytest.approx(expected.tolist())


def test_a_large_annotation_is_sampled_evenly(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raters, "MAX_ANNOTATED", 12)
    given, annotation = scored(tmp_path, 100)
    rows = raters.annotated(lambda _: given, [annotation]).to_pylist()
    held_out = sum(row["held_out"] for row in rows)
    assert 10 <= held_out <= 12
    assert 10 <= len(rows) - held_out <= 12
    places = [1099 - row["id"] for row in rows if not row["held_out"]]
    assert max(places) > 90
    assert np.diff(places).max() < 20


def test_what_an_unknown_scorer_learned_from_is_unknown(tmp_path: Path) -> None:
    given, annotation = scored(tmp_path, 20)
    write_json(tmp_path / "scores/s/manifest.json", {"stage": "score", "inputs": {}})  # scorer.from_pretrained
    rows = raters.annotated(lambda _: given, [annotation]).to_pylist()
    assert {row["held_out"] for row in rows} == {None}
    lqs = pq.read_table(annotation / "annotation.parquet")["lqs"].to_numpy()
    assert [row["annotated"] for row in rows] == pytest.approx(((lqs - lqs.mean()) / lqs.std())[:20].tolist())
    assert len(raters.annotated(lambda _: rated({"a": []}, []), [annotation])) == 0


def test_annotated_scores_of_the_sequences_that_have_them(tmp_path: Path) -> None:
    _, annotation = scored(tmp_path, 10)
    longer = rated({"style": np.zeros(12)}, ["web"] * 12)
    (values,) = raters.annotated_lqs(longer, [annotation]).values()
    assert np.isnan(values).tolist() == [False] * 10 + [True] * 2
    lqs = pq.read_table(annotation / "annotation.parquet")["lqs"].to_numpy()
    assert values[:10].tolist() == lqs[:10][::-1].tolist()
