"""Fewer tokens to the loss of uniform: by hand, outside of the curve, and in the table."""

import math
from pathlib import Path
from typing import Any

import pytest
from results_example import DOCUMENTS, evaluated, trained, with_curve

from qurating.evaluation.methods import rows
from qurating.evaluation.runs import find_runs
from qurating.reports.results import as_markdown

UNIFORM = {100: 5.0, 1_000: 4.0, 10_000: 3.0}


def run(root: Path, label: str, seed: int, points: dict[int, float] | None, **given: Any) -> None:
    model = trained(root, label, seed=seed)
    if points is not None:
        model = with_curve(root, model, points, **given)
    evaluated(root, model, list((points or UNIFORM).values())[-1] + seed / 1000)


def row(root: Path, label: str = "top-k") -> dict[str, Any]:
    return next(each for each in rows(find_runs(root)) if each["method"] == label)


def test_the_factor_is_the_geometric_mean_over_seeds(tmp_path: Path) -> None:
    """Uniform ends at 3.0; the methods are there after 1,000 and after 2,500 tokens."""
    for seed, points in enumerate([{100: 4.0, 1_000: 3.0, 10_000: 2.5}, {100: 4.0, 2_500: 3.0, 10_000: 2.5}]):
        run(tmp_path, "uniform", seed, UNIFORM)
        run(tmp_path, "top-k", seed, points)
    found = row(tmp_path)
    assert found["token_factor"] == pytest.approx(math.sqrt(10 * 4))
    half = 12.7062047364 * abs(math.log(10) - math.log(4)) / 2  # t of one degree of freedom, times the standard error
    bounds = [math.sqrt(40) * math.exp(sign * half) for sign in (-1, 1)]
    assert [found["token_factor_low"], found["token_factor_high"]] == pytest.approx(bounds)
    assert row(tmp_path, "uniform")["token_factor"] is None
    assert f"6.32 ({bounds[0]:.2f} to " in as_markdown(rows(find_runs(tmp_path)))
    assert "Token factor: tokens of uniform" in as_markdown(rows(find_runs(tmp_path)))


def test_between_two_points_the_loss_is_linear_in_log_tokens(tmp_path: Path) -> None:
    run(tmp_path, "uniform", 0, UNIFORM)
    run(tmp_path, "top-k", 0, {100: 4.0, 10_000: 2.0})  # 3.0 half-way: after 1,000
    assert row(tmp_path)["token_factor"] == pytest.approx(10)
    assert row(tmp_path)["token_factor_low"] is None


@pytest.mark.parametrize(
    ("points", "bound"), [({100: 5.0, 10_000: 3.1}, "below 1.00"), ({100: 2.9, 10_000: 2.0}, "above 100.00")]
)
def test_outside_of_the_curve_there_are_bounds_and_no_mean(
    tmp_path: Path, points: dict[int, float], bound: str
) -> None:
    for seed, own in enumerate([points, {100: 4.0, 10_000: 2.0}]):
        run(tmp_path, "uniform", seed, UNIFORM)
        run(tmp_path, "top-k", seed, own)
    assert row(tmp_path)["token_factor"] is None
    assert f"token factor not within the curve of every seed: {bound}, 10.00" in row(tmp_path)["notes"]


@pytest.mark.parametrize("without", ["top-k", "uniform"])
def test_without_a_curve_there_is_no_factor(tmp_path: Path, without: str) -> None:
    for label in ("uniform", "top-k"):
        run(tmp_path, label, 0, None if label == without else UNIFORM)
    assert row(tmp_path)["token_factor"] is None
    assert not any("token factor" in note for note in row(tmp_path)["notes"])


def test_a_pair_without_a_curve_is_told(tmp_path: Path) -> None:
    for seed, documents in enumerate([DOCUMENTS, ()]):
        run(tmp_path, "uniform", seed, UNIFORM)
        run(tmp_path, "top-k", seed, {100: 4.0, 10_000: 2.0}, documents=documents)
    assert row(tmp_path)["token_factor"] is None
    assert "no token factor: only 1 of 2 pairs have curves that can be read" in row(tmp_path)["notes"]


def test_a_part_has_its_own_losses_and_factor(tmp_path: Path) -> None:
    """Documents b and c are code, where the curve of top-k is read apart from a."""
    for label, points in (("uniform", UNIFORM), ("top-k", {100: 4.0, 1_000: 3.0, 10_000: 2.5})):
        model = with_curve(tmp_path, trained(tmp_path, label), points, documents=("b", "c"))
        evaluated(tmp_path, model, 3.3, domains=("prose", "code", "code"))
    assert row(tmp_path)["token_factor"] == pytest.approx(10)  # what the curve has of all documents
    found = {each["method"]: each for each in rows(find_runs(tmp_path, "code"))}
    assert found["top-k"]["token_factor"] == pytest.approx(10)
    assert (found["top-k"]["part"], found["top-k"]["num_documents"], found["top-k"]["loss"]) == ("code", 2, 3.3)
    assert "Measured on this part of the held-out text alone: code." in as_markdown([*found.values()])
    prose = rows(find_runs(tmp_path, "prose"))
    assert all(each["token_factor"] is None for each in prose)  # no document of the curve is prose
    missing = rows(find_runs(tmp_path, "cod"))
    assert {each["state"] for each in missing} == {"part not evaluated"}
    assert "it has no part 'cod', but code" in as_markdown(missing)
