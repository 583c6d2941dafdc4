"""The answer of a sweep: how many tokens uniform needs, with its intervals, and what a method costs elsewhere."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from results_example import evaluated, trained

from qurating.evaluation.methods import rows
from qurating.evaluation.runs import find_runs
from qurating.reports import answer, figures, style

UNIFORM = {10_000: 4.0, 20_000: 3.5, 40_000: 3.0}
PARTS = ("prose", "code", "code")


@pytest.fixture
def table(tmp_path: Path) -> list[dict[str, Any]]:
    """Two seeds: uniform at three budgets, a method within them, and one that is better than all of them."""
    for seed in (0, 1):
        for tokens, loss in UNIFORM.items():
            tag = f"uniform-{tokens}-{seed}"
            model = trained(tmp_path, "uniform", seed=seed, tag=tag, tokens=tokens, num_tokens=tokens)
            evaluated(tmp_path, model, loss, domains=PARTS)
        for label, loss in (("top|k", 3.5 - 0.1 * seed), ("oracle", 2.9 - 0.1 * seed)):
            model = trained(tmp_path, label, seed=seed, tokens=10_000, num_tokens=10_000)
            evaluated(tmp_path, model, loss, domains=PARTS, labels=("simulated judge",))
    return rows(find_runs(tmp_path, "prose"))


def test_the_table_says_what_uniform_needs_and_what_it_costs(table: list[dict[str, Any]]) -> None:
    head, *lines = answer.cells(table)
    assert head == ["method", "tokens", "loss on prose", "token factor", "uniform needs", "code: − uniform"]
    found = {line[0]: line for line in lines}
    assert found["oracle"][3:5] == ["≥ 4.00", "≥ 40.0K"]
    assert found["top|k"][3].startswith("2.14 [")
    assert found["top|k"][4:] == ["21.4K", "−0.55"]
    assert ["uniform", "40.0K", "3.000", "1", "40.0K", "–"] in lines


def test_markdown_escapes_names_and_says_what_not_to_believe(table: list[dict[str, Any]]) -> None:
    text = answer.markdown(table)
    assert "| top\\|k " in text
    assert len({line.replace("\\|", "").count("|") for line in text.splitlines() if line.startswith("|")}) == 1
    assert "mean over 2 seeds" in text
    assert "a simulated judge" in text
    assert "the price" in text


def test_a_factor_along_one_training_does_not_say_what_uniform_needs(table: list[dict[str, Any]]) -> None:
    along = [{**row, "token_factor_from": row["token_factor"] and "curve", "labels": []} for row in table]
    found = {line[0]: line for line in answer.cells(along)}
    assert found["top|k"][3:5] == ["–", "–"]
    assert not any("judge" in sentence for sentence in answer.sentences(along))


def test_one_seed_without_a_factor_is_no_answer(tmp_path: Path) -> None:
    for label, loss in (("uniform", 4.0), ("top-k", 3.0)):
        evaluated(tmp_path, trained(tmp_path, label), loss)
    assert not answer.is_one(rows(find_runs(tmp_path)))
    assert not answer.is_one([])


def test_the_figure_has_the_line_of_uniform_and_a_point_of_each_method(
    table: list[dict[str, Any]], tmp_path: Path
) -> None:
    losses = answer.losses(table)
    assert [point[:2] for point in losses["uniform"]] == [*UNIFORM.items()]
    assert losses["oracle"][0][0] == 10_000
    drawn = figures.loss_by_tokens(losses, "uniform")
    (axes,) = drawn.axes
    labels = axes.get_legend_handles_labels()[1]
    assert sorted(labels) == ["oracle", "top|k", "uniform"]
    dotted = [line for line in axes.lines if line.get_linestyle() == ":"]
    assert len(dotted) == 1  # the oracle lies outside of uniform's budgets
    assert np.asarray(dotted[0].get_xdata())[1] == pytest.approx(21_400, rel=0.01)
    assert style.save(drawn, tmp_path / "figure.png").startswith("<?xml")
