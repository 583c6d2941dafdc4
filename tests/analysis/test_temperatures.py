"""Simulated selections, against the rules that make real ones."""

import math

import numpy as np
import pytest
from rated_example import drawn, rated

from qurating.analysis.rated import Rated
from qurating.analysis.temperatures import NUM_TEMPERATURES, grid, normalisation, sampled_budget, temperatures
from qurating.selection import Arrays, select


def shares(given: Rated, criterion: str, budget: int, temperature: float, seed: int) -> dict[str, float]:
    """Of the domains in what the rule selects."""
    rows = Arrays(given.ratings[criterion], given.lengths, ids=given.ids)
    chosen = select(rows, seed=seed, num_tokens=budget, temperature=temperature).indices()
    codes, names = given.groups["domain"]
    tokens = np.bincount(codes[chosen], given.lengths[chosen], len(names))
    return dict(zip(names, (tokens / tokens.sum()).tolist(), strict=True))


def test_each_temperature_composes_as_the_rule_does() -> None:
    given, seed = drawn(), 11
    budget = int(given.lengths.sum()) // 4
    rows = temperatures(given, budget, seed).to_pylist()
    assert len(rows) == 2 * NUM_TEMPERATURES * 3
    for criterion in ("style", "facts"):
        for temperature in grid():
            found = {
                row["domain"]: row["share"]
                for row in rows
                if row["criterion"] == criterion and row["temperature"] == temperature
            }
            assert found == pytest.approx(shares(given, criterion, budget, temperature, seed))


def test_the_grid_goes_from_top_k_to_uniform() -> None:
    values = grid()
    assert len(values) == NUM_TEMPERATURES
    assert (values[0], values[-1]) == (0, math.inf)
    assert values == sorted(values)


def test_normalising_by_domain_changes_what_follows_the_domain() -> None:
    """Two domains far apart: top-k takes the upper one, normalised by domain half of each."""
    ratings = np.concatenate([np.arange(100.0), 1000 + np.arange(100.0)])
    given = rated({"c": ratings, "d": np.tile(np.arange(100.0), 2)}, ["a"] * 100 + ["b"] * 100)
    found = {row["criterion"]: row["share_changed"] for row in normalisation(given, 1000).to_pylist()}
    assert found["c"] == pytest.approx(0.5)
    assert found["d"] == pytest.approx(0)  # both domains are the same already


def test_without_a_choice_nothing_is_simulated() -> None:
    given = rated({"c": [1.0, 2.0, 3.0], "d": [np.nan, np.nan, np.nan], "e": [2.0, 2.0, 2.0]}, ["a", "a", "b"])
    assert len(temperatures(given, 30, 0)) == 0
    assert normalisation(given, 30)["share_changed"].null_count == 3
    criteria = set(temperatures(given, 10, 0)["criterion"].to_pylist())
    assert criteria == {"c", "e"}
    # a sequence alone in its domain is at the mean there
    assert normalisation(given, 10)["share_changed"].to_pylist() == [1.0, None, None]


def test_the_budget_of_a_sample_is_its_share() -> None:
    given = drawn()
    assert sampled_budget(500, given, 10 * int(given.lengths.sum())) == 50
