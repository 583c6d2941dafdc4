"""The cut-off of a selection that is guessed from a sample: the guess changes nothing."""

from typing import Any

import numpy as np
import pytest
from chosen_rows import chosen

from qurating.selection import cutoff, statistics
from qurating.selection.rows import Arrays
from qurating.selection.rules import mix, top_r


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_a_sample_changes_nothing(temperature: float, monkeypatch: pytest.MonkeyPatch) -> None:
    """Cuts that are guessed from a sample of any size, good or bad, lead to the same rows."""
    rng = np.random.default_rng(0)
    n = 5000
    scores, lengths = rng.standard_t(2, size=n).round(2), rng.integers(0, 100, n)
    domains, ids = rng.choice(list("abcd"), n, p=[0.7, 0.25, 0.04, 0.01]), rng.permutation(10**6)[:n]
    scores[domains == "b"] += 5 * np.arange((domains == "b").sum()) / n  # sorted in parts: a sample misleads
    about: dict[str, Any] = {"domains": domains, "ids": ids, "temperature": temperature, "chunk_size": 700}
    budgets = [1, 40_000, int(lengths.sum()) - 1, int(lengths.sum())]
    expected = [chosen(scores, lengths, budget, **about) for budget in budgets]
    weights: dict[str, Any] = {"domain_weights": {"a": 1, "c": 2}, "on_short_domain": "redistribute"}
    expected.append(chosen(scores, lengths, 20_000, **about, **weights))
    several = {name: rng.normal(size=n) for name in "xy"}
    expected_mix = mix(Arrays(several, lengths, domains=domains, ids=ids), num_tokens=40_000, seed=1).indices()
    expected_r = top_r(Arrays(scores, lengths, ids=ids), fraction=0.1, seed=0).indices()
    passes, original = [], cutoff._divided

    def counted(*given: Any) -> Any:
        passes.append(given)
        return original(*given)

    monkeypatch.setattr(cutoff, "_divided", counted)
    for size, deviations in ((3, 8.0), (100, 0.0), (1000, 8.0), (2500, 0.5)):
        monkeypatch.setattr(statistics, "SAMPLE_SIZE", size)
        monkeypatch.setattr(cutoff, "_DEVIATIONS", deviations)
        assert [chosen(scores, lengths, budget, **about) for budget in budgets] == expected[:-1]
        assert chosen(scores, lengths, 20_000, **about, **weights) == expected[-1]
        rows = Arrays(several, lengths, domains=domains, ids=ids)
        assert np.array_equal(mix(rows, num_tokens=40_000, seed=1).indices(), expected_mix)
        assert np.array_equal(top_r(Arrays(scores, lengths, ids=ids), fraction=0.1, seed=0).indices(), expected_r)
    assert len(passes) > 4 * 8, "no guess was wrong: the second pass was not tried"


def test_guesses_from_a_sample_leave_little_to_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.default_rng(0)
    n = 200_000
    monkeypatch.setattr(statistics, "SAMPLE_SIZE", 20_000)
    sorted_rows, original = list[int](), cutoff._until_crossed

    def counted(rows: cutoff.Keyed, budgets: Any) -> Any:
        sorted_rows.append(len(rows.ids))
        return original(rows, budgets)

    monkeypatch.setattr(cutoff, "_until_crossed", counted)
    chosen(rng.normal(size=n), rng.integers(200, 1025, n), 10_000_000, temperature=1.0)
    assert len(sorted_rows) == 1
    assert sorted_rows[0] < n / 10
