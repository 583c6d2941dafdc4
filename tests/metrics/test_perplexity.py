"""Perplexity, its split by domain, and the paired bootstrap."""

import math

import numpy as np
import pytest

from qurating.metrics import perplexity


def test_sequences_add_up_to_documents_and_domains() -> None:
    documents = perplexity.by_document(["b", "a", "b"], ["x", "y", "x"], [2.0, 3.0, 4.0], [1, 3, 2], [10, 20, 5])
    assert documents.ids.tolist() == ["b", "a"]  # by domain, then id
    assert documents.nll_nats.tolist() == [6.0, 3.0]
    assert documents.num_tokens.tolist() == [3, 3]
    result = perplexity.metrics(documents)
    assert result["overall"]["perplexity"] == pytest.approx(math.exp(9 / 6))
    assert result["overall"]["bits_per_byte"] == pytest.approx(9 / math.log(2) / 35)
    assert result["domains"]["x"]["nats_per_token"] == pytest.approx(2.0)
    assert result["domains"]["x"]["num_documents"] == 1


def test_one_id_in_two_domains_is_two_documents() -> None:
    documents = perplexity.by_document(["a", "a"], ["x", "y"], [1.0, 1.0], [1, 1], [1, 1])
    assert len(documents.ids) == 2


def test_nothing_to_divide_by_is_none_and_divergence_is_infinite() -> None:
    empty = perplexity.summarise(perplexity.by_document(["a"], ["x"], [0.0], [0], [0]))
    assert empty["perplexity"] is None
    assert empty["bits_per_byte"] is None
    assert perplexity.summarise(perplexity.by_document(["a"], ["x"], [5000.0], [1], [1]))["perplexity"] == math.inf


def test_change_is_that_of_the_perplexities() -> None:
    nll, reference, tokens = np.array([[30.0, 50.0]]), np.array([33.0, 52.0]), np.array([10, 20])
    expected = 100 * (math.exp(80 / 30) / math.exp(85 / 30) - 1)
    assert perplexity.change_percent(nll, reference, tokens) == pytest.approx([expected])


def test_bootstrap_agrees_with_a_slow_one() -> None:
    numbers = np.random.default_rng(0)
    tokens = numbers.integers(20, 400, 60)
    reference = tokens * numbers.normal(3, 0.5, 60)
    nll = reference + tokens * numbers.normal(-0.02, 0.05, 60)
    slow = []
    for _ in range(4000):
        drawn = numbers.integers(0, 60, 60)
        slow.append(100 * np.expm1((nll[drawn] - reference[drawn]).sum() / tokens[drawn].sum()))
    got = perplexity.bootstrap_change_percent(nll[None], reference, tokens, num_resamples=4000, seed=3)
    assert got[0] == pytest.approx(np.percentile(slow, [2.5, 97.5]), abs=0.12)
    low, high = got[0]
    assert low < perplexity.change_percent(nll[None], reference, tokens)[0] < high


def test_bootstrap_covers_the_truth_about_as_often_as_it_says() -> None:
    numbers = np.random.default_rng(5)
    covered = 0
    for trial in range(200):
        difference = numbers.normal(0.01, 0.1, (1, 80))
        low, high = perplexity.bootstrap_change_percent(
            difference, np.zeros(80), np.ones(80), num_resamples=300, seed=trial
        )[0]
        covered += low <= 100 * math.expm1(0.01) <= high
    assert 175 <= covered <= 199


def test_pairing_cancels_what_is_hard_for_both() -> None:
    numbers = np.random.default_rng(1)
    tokens, reference = np.full(50, 100), 100 * numbers.normal(3, 1.0, 50)
    low, high = perplexity.bootstrap_change_percent(
        reference[None] - 2.0, reference, tokens, num_resamples=500, seed=1
    )[0]
    assert low == pytest.approx(high)
    assert low == pytest.approx(100 * math.expm1(-0.02))


def test_bootstrap_is_repeatable_and_independent_of_the_other_models(monkeypatch: pytest.MonkeyPatch) -> None:
    numbers = np.random.default_rng(2)
    nll, tokens = numbers.normal(size=(3, 40)), np.ones(40)
    together = perplexity.bootstrap_change_percent(nll, np.zeros(40), tokens, num_resamples=200, seed=9)
    monkeypatch.setattr(perplexity, "_MAX_WEIGHTS", 100)  # in many small steps
    alone = perplexity.bootstrap_change_percent(nll[1:2], np.zeros(40), tokens, num_resamples=200, seed=9)
    assert together[1] == pytest.approx(alone[0], rel=1e-12)


def test_one_document_has_no_interval() -> None:
    one = np.ones((2, 1))
    assert np.isnan(perplexity.bootstrap_change_percent(one, np.zeros(1), [5], num_resamples=10, seed=0)).all()


@pytest.mark.parametrize("wrong", [{"num_resamples": 0}, {"confidence": 1.0}])
def test_impossible_settings_are_refused(wrong: dict[str, float]) -> None:
    given = {"num_resamples": 10, "confidence": 0.9} | wrong
    with pytest.raises(ValueError, match="no interval"):
        perplexity.bootstrap_change_percent(np.ones((1, 2)), np.ones(2), [1, 1], seed=0, **given)  # type: ignore[arg-type]
