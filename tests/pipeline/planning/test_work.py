"""The amount of work of each stage."""

from typing import Any

import pytest

from qurating.artifacts.lineage import STAGES
from qurating.lqs import costate
from qurating.pipeline.planning import work as formulas
from qurating.pipeline.planning.counts import Counts, UnknownError
from qurating.pipeline.planning.rates import table
from qurating.pipeline.planning.work import CLUSTERED_COST, WORK, short, work

LAYER = 4 * 64 * 64 + 3 * 64 * 128
NETWORK = {
    "model_type": "llama",
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
}
CORPUS = Counts({"tokens": 1e6, "sequences": 5000, "heldout_tokens": 1e5, "heldout_sequences": 500, "vocabulary": 1000})


def amount(stage: str, settings: dict[str, Any], **read: Counts) -> float:
    found = work(stage, settings, {"corpus": CORPUS, **read}, table()).amount
    assert found is not None
    return found


def test_every_stage_has_a_formula() -> None:
    assert set(WORK) == set(STAGES)
    with pytest.raises(UnknownError, match="distil"):
        work("distil", {}, {}, {})


def test_a_language_model_takes_six_operations_a_token_and_parameter() -> None:
    settings = {"network": NETWORK, "heldout_points": 0, "heldout_max_tokens": None}
    ordered = Counts({"tokens": 2e5})
    trained = amount("train_lm", settings, order=ordered)
    assert trained == 6 * 2e5 * (2 * LAYER + 64 * 1000)
    curve = amount("train_lm", {**settings, "heldout_points": 10, "heldout_max_tokens": 1000}, order=ordered)
    assert curve - trained == 2 * 10 * 1000 * (2 * LAYER + 64 * 1000)
    listed = amount("train_lm", {**settings, "heldout_at_tokens": [10, 20]}, order=ordered)
    assert listed - trained == 2 * 2 * 1e5 * (2 * LAYER + 64 * 1000)  # no more than there are


def test_rating_takes_two_operations_and_the_last_layer_hardly_any() -> None:
    rater = work(
        "train_rater",
        {"network": NETWORK, "num_epochs": 2, "max_tokens": 512, "validation_fraction": 0.1, "minimum_confidence": 0},
        {"corpus": CORPUS, "judgments": Counts({"pairs": 100, "snippet_tokens": 50})},
        table(),
    )
    assert rater.amount == pytest.approx(2 * 100 * 50 * 2 * (6 * 0.9 + 2 * 0.1) * 2 * LAYER)
    rated = amount("rate", {"from_pretrained": None}, rater=rater.counts)
    assert rated == 2 * 1e6 * (LAYER + 2 * 64 * 64)


def test_importing_ratings_takes_what_the_sequences_take() -> None:
    assert amount("import_ratings", {}) == 5000


def test_an_existing_rater_is_known_by_its_name() -> None:
    found = work("rate", {"from_pretrained": "princeton-nlp/QuRater-1.3B"}, {"corpus": CORPUS}, table())
    assert found.amount == pytest.approx(2 * 1e6 * 1.21e9, rel=0.05)
    assert "1.28B parameters" in found.shown


ANNOTATION = {
    "model": None,
    "num_steps": 100,
    "contribution_interval": 10,
    "denominator": "next_visited",
    "hessian": "exact",
    "trajectory": "keep",
    "batch_size_sequences": 16,
}


def test_an_annotation_visits_every_proxy_sequence_once_a_step() -> None:
    """Steps 10 to 90 are visited, with a forward and a backward pass of each sequence; the rest is little."""
    read = {
        "proxy": Counts({"sequences": 1000, "tokens": 1e5}),
        "target": Counts({"tokens": 0}),
        "proxy_lm": Counts({"parameters": 1e6, "multiplied": 1e6}),
    }
    found = amount("annotate_proxy", ANNOTATION, **read)
    passes, batches = 9 * 1e5, 16 * 100 * (100 + 91 * 3.5)
    assert found == 6e6 * (passes + batches)
    twice = amount("annotate_proxy", {**ANNOTATION, "denominator": "next_step"}, **read)
    assert twice - found == 6e6 * passes
    none = amount("annotate_proxy", {**ANNOTATION, "hessian": "none", "trajectory": "recompute"}, **read)
    assert none == 6e6 * (passes + 16 * 100 * 200)


def test_another_denominator_takes_no_gradient() -> None:
    counts = Counts({"sequences": 1000, "tokens": 1e5})
    found = work("rescore_proxy", {"denominator": "none"}, {"annotation": counts}, {})
    assert (found.amount, found.counts) == (1000, counts)


def test_the_costs_of_the_co_state_are_those_of_its_module() -> None:
    assert (formulas.FORWARD_COST, formulas.PRODUCT_COSTS) == (costate.FORWARD_COST, costate.PRODUCT_COSTS)


def test_a_budget_beyond_the_corpus_is_the_corpus() -> None:
    some = work("select", {"rule": {"num_tokens": 2e5}}, {"corpus": CORPUS}, {})
    assert (some.counts["tokens"], some.counts["sequences"]) == (2e5, 1000)
    assert work("select", {"rule": {"num_tokens": 5e6}}, {"corpus": CORPUS}, {}).counts["tokens"] == 1e6
    assert work("select", {"rule": {"fraction": 0.4}}, {"corpus": CORPUS}, {}).counts["tokens"] == 4e5
    with pytest.raises(UnknownError, match="how many tokens"):
        work("select", {"rule": {"minimum": 0.0}}, {"corpus": CORPUS}, {})


def test_what_cannot_be_told_is_no_zero() -> None:
    kenlm = work("measure_perplexity", {"kenlm": "a.arpa"}, {"corpus": CORPUS}, {})
    assert kenlm.amount is None
    assert "KenLM" in kenlm.unknown
    tasks = {"tasks": ["hellaswag"], "limit": None}
    found = work("evaluate_tasks", tasks, {"language_model": Counts({"multiplied": 1})}, table())
    assert found.amount is None
    assert "hellaswag" in found.unknown
    with pytest.raises(UnknownError, match="lab/rater"):
        work("rate", {"from_pretrained": "lab/rater"}, {"corpus": CORPUS}, table())


def test_a_clustered_text_counts_as_many_rows() -> None:
    settings = {"max_sequences": 400, "max_clustered": 50, "clusters": 25}
    tables = amount("analyse_ratings", settings | {"clusters": 0})
    assert tables == min(400, CORPUS.need("sequences"))
    assert amount("analyse_ratings", settings) == tables + 50 * CLUSTERED_COST
    assert amount("analyse_ratings", settings | {"max_clustered": 10**9}) == tables * (1 + CLUSTERED_COST)


def test_numbers_for_people() -> None:
    assert [short(n) for n in (1.284e9, 627e9, 400_000, 281, 2.5)] == ["1.28B", "627B", "400K", "281", "2.5"]
