"""The tokens that uniform needs for a method's loss, from uniform trainings of several budgets."""

import math
from pathlib import Path
from typing import Any

import pytest
from results_example import evaluated, run, trained

from qurating.evaluation.budget_factors import Losses, compared
from qurating.evaluation.methods import rows
from qurating.evaluation.runs import find_runs
from qurating.reports.results import as_markdown

UNIFORM: dict[float, float] = {10_000: 4.0, 20_000: 3.5, 40_000: 3.0}


def test_the_factor_is_the_geometric_mean_over_seeds() -> None:
    """3.0 takes uniform 40,000 tokens; 3.25 lies half-way in log tokens between 20,000 and 40,000."""
    row, notes = compared([Losses(10_000, 3.0, UNIFORM), Losses(10_000, 3.25, UNIFORM)])
    logs = [math.log(4), math.log(2 * math.sqrt(2))]
    half = 12.7062047364 * abs(logs[0] - logs[1]) / 2  # t of one degree of freedom, times the standard error
    assert row["token_factor"] == pytest.approx(math.exp(sum(logs) / 2))
    bounds = [math.exp(sum(logs) / 2 + sign * half) for sign in (-1, 1)]
    assert [row["token_factor_low"], row["token_factor_high"]] == pytest.approx(bounds)
    assert (row["token_factor_bound"], row["token_factor_from"], notes) == (None, "budgets", [])


@pytest.mark.parametrize(
    ("losses", "factor", "bound", "note"),
    [
        ((2.9, 3.5), math.sqrt(4 * 2), "at least", "1 of 2 seeds are below the loss of uniform's largest budget"),
        ((4.5, 4.1), 1.0, "at most", "2 of 2 seeds are above the loss of uniform's smallest budget"),
        ((2.9, 4.1), None, None, "outside of uniform's budgets on both sides"),
    ],
)
def test_outside_of_the_budgets_it_is_a_bound(
    losses: tuple[float, ...], factor: float | None, bound: str | None, note: str
) -> None:
    row, notes = compared([Losses(10_000, loss, UNIFORM) for loss in losses])
    assert row.get("token_factor") == (factor if factor is None else pytest.approx(factor))
    assert (row.get("token_factor_bound"), row.get("token_factor_low")) == (bound, None)
    assert notes == [f"token factor: {note}"]


@pytest.mark.parametrize("runs", [[], [Losses(10, 3.0, {10: 3.0})]])
def test_without_several_budgets_there_is_no_factor(runs: list[Losses]) -> None:
    assert compared(runs) == ({}, [])


def test_a_seed_without_several_budgets_is_told() -> None:
    told = ["no token factor: uniform has several budgets with 1 of 2 seeds alone"]
    assert compared([Losses(10, 3.0, UNIFORM), Losses(10, 3.0, {})]) == ({}, told)


def table(root: Path) -> dict[tuple[str, int], dict[str, Any]]:
    found = rows(find_runs(root))
    print(as_markdown(found))
    return {(row["method"].split(",")[0], row["tokens"]): row for row in found}


def test_the_table_reads_them_from_uniform_of_the_same_seed_alone(tmp_path: Path) -> None:
    """Seed 1 of uniform is better by 0.5 at each budget, so that top-k gains less there."""
    for seed in (0, 1):
        for tokens, loss in UNIFORM.items():
            run(tmp_path, "uniform", loss - seed / 2, seed, tag=f"u{tokens}-{seed}", tokens=tokens, num_tokens=tokens)
        run(tmp_path, "top-k", 3.0, seed, tokens=10_000, num_tokens=10_000)
    other = {"num_tokens": 80_000, "by_domain": True}  # differs in more than the budget
    for seed in (0, 1):
        run(tmp_path, "uniform", 2.0, seed, tag=f"other-{seed}", tokens=80_000, **other)
    found = table(tmp_path)
    row = found["top-k", 10_000]
    assert row["token_factor"] == pytest.approx(math.sqrt(4 * 2))
    assert (row["token_factor_from"], row["num_pairs"]) == ("budgets", 2)
    assert found["uniform", 40_000]["token_factor"] is None
    assert "Token factor: tokens that uniform needs" in as_markdown([*found.values()])


def test_what_a_method_costs_elsewhere(tmp_path: Path) -> None:
    """Differences of the loss on the domains, from uniform of the same seed and the nearest budget."""
    for label, loss in (("uniform", 4.0), ("top-k", 3.0)):
        evaluated(tmp_path, trained(tmp_path, label), loss, domains=("prose", "code", "code"))
    found = {row["method"]: row for row in rows(find_runs(tmp_path, "prose"))}
    assert found["top-k"]["elsewhere"] == {"code": -1.0}
    assert found["uniform"]["elsewhere"] is None
