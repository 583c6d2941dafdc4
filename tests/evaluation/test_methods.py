"""One row per method: over seeds, against uniform of the same seed, and what cannot be compared."""

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from results_example import NETWORK, corpus, evaluated, make, ordered, run, trained

from qurating.evaluation.methods import COLUMNS, rows
from qurating.evaluation.runs import find_runs

LOSSES = {
    "uniform": [3.10, 3.14, 3.09],
    "educational_value top-k": [3.05, 3.07, 3.06],
    "educational_value sample τ=2.0": [3.20, 3.10, 3.16],
}


def table(root: Path) -> dict[str, dict[str, Any]]:
    """The rows by method; each has all columns, and no other."""
    found = rows(find_runs(root))
    assert all(set(row) == set(COLUMNS) for row in found)
    return {row["method"]: row for row in found}


def sweep(root: Path, losses: dict[str, list[float]] | None = None, **given: Any) -> None:
    for label, values in (losses or LOSSES).items():
        for seed, loss in enumerate(values):
            run(root, label, loss, seed, **given)


def test_the_numbers_are_those_of_scipy(tmp_path: Path) -> None:
    """scipy 1.17: ttest_rel of the losses, and confidence_interval of ttest_1samp."""
    sweep(tmp_path)
    found = table(tmp_path)
    assert [*found] == ["educational_value top-k", "uniform", "educational_value sample τ=2.0"]
    best, base, worst = found.values()
    assert [row["rank"] for row in found.values()] == [1, 2, 3]
    assert [best[f"loss{end}"] for end in ("", "_low", "_high")] == pytest.approx([3.06, 3.0351586229, 3.0848413771])
    expected = [21.328268086523, 20.798451158404, 21.858085014643]
    assert [best[f"perplexity{end}"] for end in ("", "_low", "_high")] == pytest.approx(expected)
    assert best["bits_per_byte"] == pytest.approx(3.06 / 3 / 0.69314718056)
    keys = ["difference", "difference_low", "difference_high", "p"]
    assert [best[key] for key in keys] == pytest.approx([-0.05, -0.0996827542, -0.0003172458, 0.0494136242])
    assert [worst[key] for key in keys] == pytest.approx([0.0433333333, -0.1397753091, 0.2264419758, 0.4156934525])
    assert (best["p_holm"], worst["p_holm"]) == pytest.approx((2 * 0.0494136242, 0.4156934525))  # two comparisons
    assert (best["reference"], best["num_pairs"], best["seeds"]) == ("uniform", 3, ["0", "1", "2"])
    assert base["is_uniform"]
    assert [base[key] for key in ("reference", "difference", "p", "p_holm")] == [None] * 4
    assert (best["tokens"], best["parameters"], best["corpus"]) == (30_000, 75_872, "embedded")
    assert all(not row["notes"] for row in found.values())


def test_each_row_leads_back_to_its_manifests(tmp_path: Path) -> None:
    sources = [run(tmp_path, "uniform", 3.0 + seed / 10, seed, labels=("simulated judge",)) for seed in (0, 1)]
    assert table(tmp_path)["uniform"]["evaluations"] == sources
    assert table(tmp_path)["uniform"]["labels"] == ["simulated judge"]


def test_one_seed_has_no_interval_and_no_p(tmp_path: Path) -> None:
    sweep(tmp_path, {"uniform": [3.10], "top-k": [3.05]})
    row = table(tmp_path)["top-k"]
    assert row["difference"] == pytest.approx(-0.05)
    assert [row[key] for key in ("loss_low", "loss_high", "difference_low", "p", "p_holm")] == [None] * 5
    assert row["notes"] == ["one seed, so no interval"]


def test_seeds_without_an_effect_have_no_interval(tmp_path: Path) -> None:
    sweep(tmp_path, {"uniform": [3.10, 3.10]})
    row = table(tmp_path)["uniform"]
    assert (row["num_seeds"], row["loss_low"]) == (2, None)
    assert row["notes"] == ["no interval: all seeds gave exactly the same loss"]


def test_seeds_of_the_training_alone_are_told(tmp_path: Path) -> None:
    texts = corpus(tmp_path)
    order = ordered(tmp_path, "uniform", "uniform", texts, 0, 30_000, "shuffle")
    for seed in (0, 1):
        config = {"network": NETWORK, "seed": seed}
        model = make(tmp_path, f"models/lm-{seed}", "train_lm", {"corpus": texts, "order": order}, config)
        evaluated(tmp_path, model, 3.0 + seed)
    row = table(tmp_path)["uniform"]
    assert (row["seeds"], row["notes"]) == (["0", "0/0/1"], ["the seeds vary in train_lm alone"])


def test_only_runs_of_the_same_seed_are_paired(tmp_path: Path) -> None:
    sweep(tmp_path, {"uniform": [3.0, 4.0, 5.0], "top-k": [2.9, 3.8]})
    run(tmp_path, "top-k", 9.0, seed=7)
    row = table(tmp_path)["top-k"]
    assert row["num_pairs"] == 2
    assert row["difference"] == pytest.approx(-0.15)
    assert row["notes"] == [
        "seeds of uniform without a result: 2",
        "1 of 3 runs without a uniform run of the same seeds and documents",
    ]


def test_a_corpus_made_again_with_each_seed_is_still_one_method(tmp_path: Path) -> None:
    """As `seed=0,1` does: the held-out documents change with the seed, and pairs share them."""
    for seed in (0, 1):
        texts = corpus(tmp_path, f"embedded-{seed}", seed)
        for label, loss in (("uniform", 3.0 + seed), ("top-k", 2.5 + 0.9 * seed)):
            run(tmp_path, label, loss, seed, texts=texts, documents=("a", f"b{seed}"))
    row = table(tmp_path)["top-k"]
    assert (row["num_seeds"], row["num_pairs"], row["heldout"]) == (2, 2, "A B")
    assert row["difference"] == pytest.approx(-0.55)


def test_a_run_under_two_names_counts_once(tmp_path: Path) -> None:
    model = trained(tmp_path)
    first, again = evaluated(tmp_path, model, 3.0, name="a"), evaluated(tmp_path, model, 3.0, name="b")
    row = table(tmp_path)["uniform"]
    assert (row["num_seeds"], row["evaluations"]) == (1, [first])
    assert f"the same run as {first}, counted once: {again}" in row["notes"]


def test_two_runs_that_share_a_uniform_run_have_no_interval(tmp_path: Path) -> None:
    run(tmp_path, "uniform", 3.0)
    for seed, loss in ((0, 2.9), (1, 2.8)):  # of another rater alone
        ratings = make(tmp_path, f"ratings/{seed}", "rate", {"corpus": corpus(tmp_path)}, {"seed": seed})
        run(tmp_path, "top-k", loss, tag=f"top-{seed}", ratings=ratings)
    row = table(tmp_path)["top-k"]
    assert (row["num_seeds"], row["num_pairs"], row["p"]) == (2, 2, None)
    assert row["difference"] == pytest.approx(-0.15)
    assert "several runs share one uniform run: no interval of the difference" in row["notes"]


def test_unequal_budgets_are_flagged(tmp_path: Path) -> None:
    run(tmp_path, "uniform", 3.0, tokens=10_000)
    run(tmp_path, "just equal", 3.0, tokens=10_100)
    run(tmp_path, "more", 3.0, tokens=10_150)
    found = table(tmp_path)
    assert found["just equal"]["notes"] == ["one seed, so no interval"]
    assert "unequal budgets: +1.5 % tokens against uniform" in found["more"]["notes"]
    assert found["more"]["difference"] == 0.0


def test_the_uniform_of_the_same_budget_is_taken(tmp_path: Path) -> None:
    for tokens, loss in ((30_000, 3.0), (45_000, 2.8)):
        run(tmp_path, "uniform", loss, tokens=tokens, tag=f"u{tokens}", num_tokens=tokens)
    run(tmp_path, "top-k", 2.9, tokens=45_010, tag="t", num_tokens=45_000)
    found = rows(find_runs(tmp_path))
    # the columns tell the two uniforms apart, so their names need not
    assert [(row["group"], row["method"], row["tokens"]) for row in found] == [
        (1, "uniform", 45_000),
        (1, "top-k", 45_010),
        (2, "uniform", 30_000),
    ]
    assert found[1]["difference"] == pytest.approx(0.1)


def test_an_equal_budget_counts_more_than_equal_settings(tmp_path: Path) -> None:
    alike: dict[str, Any] = {"by_domain": False, "weights": "equal"}
    run(tmp_path, "uniform", 3.0, tokens=30_000, tag="small", num_tokens=30_000, **alike)
    run(tmp_path, "uniform", 2.8, tokens=45_000, tag="large", num_tokens=45_000, by_domain=True, weights="own")
    run(tmp_path, "top-k", 2.9, tokens=45_000, tag="top", num_tokens=45_000, **alike)
    assert table(tmp_path)["top-k"]["difference"] == pytest.approx(0.1)


def test_runs_of_one_seed_on_other_documents_are_no_pair(tmp_path: Path) -> None:
    """Both methods were evaluated on two editions of a second corpus, of which they share one."""
    editions = [corpus(tmp_path, f"second-{seed}", seed) for seed in (0, 1)]
    for label, seed, edition in (("uniform", 0, 0), ("uniform", 1, 0), ("top-k", 0, 0), ("top-k", 1, 1)):
        model = trained(tmp_path, label, seed=seed)
        evaluated(tmp_path, model, 3.0 + seed, texts=editions[edition], documents=("a", "b", f"c{edition}"))
    row = table(tmp_path)["top-k"]
    assert (row["num_seeds"], row["num_pairs"]) == (2, 1)
    assert "1 of 2 runs without a uniform run of the same seeds and documents" in row["notes"]


def test_other_held_out_documents_are_not_compared(tmp_path: Path) -> None:
    others, same = (corpus(tmp_path, f"other-{lines}", lines=lines) for lines in (3, 4))
    evaluated(tmp_path, trained(tmp_path, "uniform"), 3.0)
    evaluated(tmp_path, trained(tmp_path, "top-k"), 2.0, texts=others, documents=("x", "y", "z"))
    evaluated(tmp_path, trained(tmp_path, "sample"), 2.5, texts=same, documents=("c", "b", "a"))
    found = table(tmp_path)
    assert "other held-out documents than uniform: not compared" in found["top-k"]["notes"]
    assert (found["top-k"]["difference"], found["top-k"]["rank"]) == (None, None)
    assert found["top-k"]["group"] != found["uniform"]["group"]
    # the same documents from another corpus are the same documents
    assert found["sample"]["difference"] == pytest.approx(-0.5)
    assert found["sample"]["heldout"] == found["uniform"]["heldout"] != found["top-k"]["heldout"]


def test_documents_are_read_only_where_inputs_do_not_tell(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    sweep(tmp_path)
    monkeypatch.setattr(pq, "read_table", lambda *given, **named: pytest.fail("documents were read"))
    assert table(tmp_path)["educational_value top-k"]["num_pairs"] == 3


def test_another_model_or_corpus_has_its_own_uniform(tmp_path: Path) -> None:
    run(tmp_path, "uniform", 3.0)
    run(tmp_path, "top-k", 2.0, network=NETWORK | {"hidden_size": 64})
    run(tmp_path, "sample", 2.0, texts=corpus(tmp_path, "other", lines=2), documents=("a", "b", "c"))
    for label in ("top-k", "sample"):
        row = table(tmp_path)[label]
        assert "no uniform of the same model settings and corpus" in row["notes"]
        assert row["difference"] is None


def test_a_different_rater_makes_a_different_row_that_shows_it(tmp_path: Path) -> None:
    for batch in (8, 16):
        ratings = make(
            tmp_path, f"ratings/{batch}", "rate", {"corpus": corpus(tmp_path)}, {"batch": batch, "seed": batch}
        )
        for seed in (0, 1):
            run(tmp_path, "top-k", 3.0 + seed / batch, seed, tag=f"top-{batch}-{seed}", ratings=ratings)
    found = table(tmp_path)
    assert [*found] == ["top-k, batch=16", "top-k, batch=8"]
    assert all(row["num_seeds"] == 2 for row in found.values())


def test_runs_without_a_result_come_last_with_their_state(tmp_path: Path) -> None:
    sweep(tmp_path, {"uniform": [3.0, 3.1]})
    source = trained(tmp_path, "uniform", seed=2)
    last = rows(find_runs(tmp_path))[-1]
    assert [last[key] for key in ("method", "state", "seeds", "evaluations")] == [
        *("uniform", "not evaluated", ["2"], [source])
    ]
    assert [last[key] for key in ("rank", "loss", "difference", "group")] == [None] * 4
    assert table(tmp_path)["uniform"]["num_seeds"] == 0  # the last row of this name


def test_the_papers_figures_stand_beside_runs_of_their_size(tmp_path: Path) -> None:
    large = NETWORK | {"hidden_size": 2048, "num_hidden_layers": 24}
    sweep(tmp_path, {"uniform": [3.0], "facts_and_trivia sample τ=2.0": [2.9]}, tokens=30_000_000_512, network=large)
    run(tmp_path, "uniform", 3.0, tag="small")
    found = rows(find_runs(tmp_path))
    assert [(row["method"], row["paper_perplexity"], row["paper_average"]) for row in found] == [
        ("facts_and_trivia sample τ=2.0", 8.91, 46.2),
        ("uniform", 8.96, 44.9),
        ("uniform", None, None),
    ]
    assert found[0]["paper"] == "arXiv 2402.09739, table 1, second-hand"


def test_a_model_has_the_papers_figures_of_the_scores_that_its_scorer_learned(tmp_path: Path) -> None:
    """PDS, from an annotation of its own or from that of LQS."""
    label = "lqs top-k, folding by lqs"
    network = NETWORK | {"hidden_size": 768, "num_hidden_layers": 12}
    lqs = make(tmp_path, "annotations/lqs", "annotate_proxy", {}, {"denominator": "next_visited"})
    annotations = (
        lqs,
        make(tmp_path, "annotations/again", "rescore_proxy", {"annotation": lqs}, {"denominator": "none"}),
        make(tmp_path, "annotations/own", "annotate_proxy", {}, {"denominator": "none"}),
    )
    for loss, annotation in enumerate(annotations, 2):
        scorer = make(tmp_path, f"models/scorer-{loss}", "train_scorer", {"annotation": annotation}, {})
        scores = make(tmp_path, f"scores/{loss}", "score", {"scorer": scorer}, {})
        run(tmp_path, label, loss, tag=f"of{loss}", network=network, tokens=1_000_000_000, ratings=scores)
    found = sorted(rows(find_runs(tmp_path)), key=lambda row: row["loss"])
    assert [row["paper_average"] for row in found] == [38.08, 37.40, 37.40]
