"""The tables of results: those of the methods, with what checks found, and the curves of their runs."""

from pathlib import Path
from typing import Any

import pytest
from results_example import corpus, evaluated, make, run, trained, with_curve

from qurating.analysis.results import curves, results, trained_on
from qurating.evaluation.methods import rows
from qurating.evaluation.runs import find_runs, runs_in


def found(root: Path, checks: list[dict[str, Any]] | None = None) -> list[dict[str, Any]]:
    runs = find_runs(root)
    table: list[dict[str, Any]] = results(runs, rows(runs), checks or []).to_pylist()
    return table


def check(subset: str, near: float | None, contaminated: float | None) -> dict[str, Any]:
    return {"subset": subset, "near_duplicate_share": near, "contaminated_share": contaminated}


def test_the_numbers_are_those_of_the_table_of_methods(tmp_path: Path) -> None:
    for seed in (0, 1):
        run(tmp_path, "uniform", 3.0 + seed / 10, seed)
        run(tmp_path, "top-k", 2.5 + seed / 5, seed)
    trained(tmp_path, "sample")  # without an evaluation
    methods = rows(find_runs(tmp_path))
    table = found(tmp_path)
    assert [row["number"] for row in table] == [0, 1, 2]
    assert [row["state"] for row in table] == ["complete", "complete", "not evaluated"]
    for row, method in zip(table, methods, strict=True):
        same = {key: value for key, value in row.items() if key in method}
        assert same == {key: method[key] for key in same}
    assert (table[0]["method"], table[0]["difference"]) == ("top-k", pytest.approx(-0.45))
    assert table[0]["num_checked"] == 0
    assert table[0]["near_duplicate_share"] is None


def test_the_shares_are_the_mean_over_the_checked_seeds(tmp_path: Path) -> None:
    for seed in (0, 1, 2):
        run(tmp_path, "uniform", 3.0, seed)
    checks = [check("uniform-shuffle-0", 0.1, None), check("uniform-shuffle-1", 0.3, 0.5), check("elsewhere", 0.9, 0.9)]
    (row,) = found(tmp_path, [*checks, check("uniform-shuffle-0", 0.7, 0.7)])  # another check of the same subset
    assert (row["num_checked"], row["num_seeds"]) == (2, 3)
    assert row["near_duplicate_share"] == pytest.approx(0.2)
    assert row["contaminated_share"] == 0.5


@pytest.mark.parametrize(
    ("removed", "shares"),
    [([], (0.2, 0.1)), (["near_duplicates"], (0.0, None)), (["near_duplicates", "contamination"], (0.0, 0.0))],
)
def test_what_a_check_has_removed_is_no_longer_there(tmp_path: Path, removed: list[str], shares: Any) -> None:
    texts = corpus(tmp_path)
    subset = make(tmp_path, "subsets/s", "select", {"corpus": texts}, {"label": "top-k", "seed": 0})
    rest = make(tmp_path, "subsets/s-checked", "check_subset", {"corpus": texts, "subset": subset}, {"remove": removed})
    order = make(tmp_path, "orders/s", "order", {"corpus": texts, "subset": rest}, {"seed": 0}, tokens=9)
    model = make(tmp_path, "models/lm", "train_lm", {"corpus": texts, "order": order}, {"seed": 0, "network": {}})
    evaluated(tmp_path, model, 3.0)
    (row,) = found(tmp_path, [check("s", 0.2, 0.1)])
    assert (row["near_duplicate_share"], row["contaminated_share"]) == shares
    assert trained_on(find_runs(tmp_path)) == [tmp_path / "subsets/s-checked"]


def test_curves_of_every_run(tmp_path: Path) -> None:
    for seed in (0, 1):
        model = with_curve(tmp_path, trained(tmp_path, "top-k", seed=seed), {10: 4.0, 100: 3.0 + seed})
        evaluated(tmp_path, model, 3.0 + seed)
    logged = tmp_path / model.split(" (")[0] / "metrics.csv"
    logged.write_text("step,train/loss,train/tokens\n0,5.0,50\n1,4.5,100\n")
    run(tmp_path, "uniform", 3.5)  # its model has no curve
    runs = runs_in([tmp_path / f"evaluations/lm-{name}-shuffle-{seed}" for name, seed in (("top-k", 0), ("top-k", 1))])
    table = curves(runs, rows(runs)).to_pylist()
    assert {(row["number"], row["method"]) for row in table} == {(0, "top-k")}
    points = [(row["replicate"], row["kind"], row["tokens"], row["nats_per_token"]) for row in table]
    assert points == [
        ("0", "heldout", 10, 4.0),
        ("0", "heldout", 100, 3.0),
        ("1", "heldout", 10, 4.0),
        ("1", "heldout", 100, 4.0),
        ("1", "training", 50, 5.0),
        ("1", "training", 100, 4.5),
    ]
    assert trained_on(runs) == [tmp_path / f"subsets/top-k-shuffle-{seed}" for seed in (0, 1)]
    assert len(curves(find_runs(tmp_path), rows(find_runs(tmp_path)))) == 6


def test_nothing_was_evaluated() -> None:
    assert len(results([], [], [])) == len(curves([], [])) == 0
    assert trained_on([]) == []
