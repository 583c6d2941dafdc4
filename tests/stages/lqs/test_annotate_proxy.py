"""The annotation: its scores against a slow loop, kills at every kind of moment, several processes, bad input."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from annotation_example import SlowLoop, annotate, make_inputs

Row = dict[str, Any]


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return make_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def slow(inputs: dict[str, Path]) -> SlowLoop:
    return SlowLoop(inputs)


def rows(output: Path) -> list[Row]:
    return pq.read_table(output / "annotation.parquet").to_pylist()


def scores(output: Path) -> np.ndarray:
    return np.array([row["lqs"] for row in rows(output)])


def files(folder: Path) -> dict[str, bytes]:
    assert not (folder / "working").exists()
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.mark.parametrize(
    ("interval", "denominator"),
    [(1, "next_step"), (2, "next_visited"), (2, "next_step"), (4, "same_step"), (2, "none")],
)
def test_scores_are_those_of_a_slow_loop(
    inputs: dict[str, Path], slow: SlowLoop, tmp_path: Path, interval: int, denominator: str
) -> None:
    counts = annotate(tmp_path, inputs, contribution_interval=interval, denominator=denominator)
    found = rows(tmp_path)
    expected = [slow.score(n, interval, denominator) for n in range(len(slow.proxy))]
    assert [row["id"] for row in found] == [row["id"] for row in slow.proxy]
    assert scores(tmp_path) == pytest.approx(np.array(expected), rel=2e-4, abs=2e-4 * float(np.std(expected)))
    assert counts["visited_steps"] == list(range(interval, 6, interval))
    for n in (0, len(found) - 1):
        assert found[n]["dots"] == pytest.approx([slow.dot(n, t) for t in counts["visited_steps"]], rel=2e-3)
        assert found[n]["norms"] == pytest.approx([slow.norm(n, t) for t in counts["visited_steps"]], rel=1e-4)


def test_every_term_is_divided_by_a_norm(inputs: dict[str, Path], slow: SlowLoop, tmp_path: Path) -> None:
    """The released annotation takes no norm at θ_T, and divides the last visited step's term by 1."""
    annotate(tmp_path / "next", inputs)
    for n, row in enumerate(rows(tmp_path / "next")):
        assert row["denominators"] == pytest.approx([slow.norm(n, t) for t in (4, 6)], rel=1e-4)
        assert row["lqs"] == pytest.approx(
            row["dots"][0] / slow.norm(n, 4) + row["dots"][1] / slow.norm(n, 6), rel=1e-3
        )
    annotate(tmp_path / "none", inputs, denominator="none")
    assert {value for row in rows(tmp_path / "none") for value in row["denominators"]} == {1.0}


def test_how_the_work_is_cut_changes_nothing_but_rounding(inputs: dict[str, Path], tmp_path: Path) -> None:
    annotate(tmp_path / "whole", inputs)
    ways: dict[str, dict[str, Any]] = {
        "single": {"micro_batch_size": 1, "block": 3},
        "large": {"micro_batch_size": 64, "block": 256},
        "checkpointed": {"layer_checkpointing": True},
    }
    for name, changes in ways.items():
        annotate(tmp_path / name, inputs, **changes)
        assert scores(tmp_path / name) == pytest.approx(scores(tmp_path / "whole"), rel=1e-4, abs=1e-4)
        assert [row["id"] for row in rows(tmp_path / name)] == [row["id"] for row in rows(tmp_path / "whole")]


def test_ways_to_keep_the_trajectory_agree(inputs: dict[str, Path], tmp_path: Path) -> None:
    for kind in ("keep", "recompute", "bf16_differences"):
        annotate(tmp_path / kind, inputs, trajectory=kind)
    assert files(tmp_path / "keep") == files(tmp_path / "recompute")
    near, exact = scores(tmp_path / "bf16_differences"), scores(tmp_path / "keep")
    assert not np.array_equal(near, exact)
    assert near == pytest.approx(exact, abs=0.02 * exact.std())


def test_approximations_are_what_they_say(inputs: dict[str, Path], slow: SlowLoop, tmp_path: Path) -> None:
    annotate(tmp_path / "exact", inputs)
    exact = scores(tmp_path / "exact")
    annotate(tmp_path / "differences", inputs, hessian="finite_differences")
    assert scores(tmp_path / "differences") == pytest.approx(exact, abs=0.01 * exact.std())
    annotate(tmp_path / "without", inputs, hessian="none")
    # λ_{t+1} is then the sum of ∇J(θ_s) over s > t
    for n, row in enumerate(rows(tmp_path / "without")[:4]):
        for t, dot in zip((2, 4), row["dots"], strict=True):
            total = 0.0
            for s in range(t + 1, 7):
                state = {name: value.detach().requires_grad_() for name, value in slow.states[s].items()}
                slopes = torch.autograd.grad(slow.mean_loss(slow.target, state), list(state.values()))
                total += (torch.cat([slope.flatten() for slope in slopes]) @ slow.gradient(n, t)).item()
            assert dot == pytest.approx(total, rel=2e-3, abs=1e-4)
    annotate(tmp_path / "bf16", inputs, precision="bf16-mixed")
    low = scores(tmp_path / "bf16")
    assert not np.allclose(low, exact, rtol=1e-5)
    assert np.corrcoef(low, exact)[0, 1] > 0.99
    # the training itself is in float32
    training = [
        [line.split(",")[1] for line in (tmp_path / name / "trajectory.csv").read_text().splitlines()]
        for name in ("bf16", "exact")
    ]
    assert training[0] == training[1]


def test_it_writes_the_losses_and_what_it_did(inputs: dict[str, Path], slow: SlowLoop, tmp_path: Path) -> None:
    counts = annotate(tmp_path, inputs)
    assert sorted(files(tmp_path)) == ["annotation.parquet", "summary.json", "trajectory.csv"]
    lines = [line.split(",") for line in (tmp_path / "trajectory.csv").read_text().splitlines()]
    assert lines[0] == ["step", "training_loss", "target_loss"]
    assert [int(line[0]) for line in lines[1:]] == list(range(7))
    assert [float(line[1]) for line in lines[1:-1]] == pytest.approx(slow.training_losses, rel=1e-5)
    assert lines[-1][1] == ""
    assert [float(line[2]) for line in lines[1:]] == pytest.approx(slow.target_losses, rel=1e-5)
    lqs = scores(tmp_path)
    assert counts == {
        "sequences": 18,
        "left_out": 0,
        "steps": 6,
        "visited_steps": [2, 4],
        "target_loss_before": float(lines[1][2]),
        "target_loss_after": float(lines[7][2]),
        "lqs_mean": pytest.approx(lqs.mean()),
        "lqs_std": pytest.approx(lqs.std()),
        "parameters": sum(p.numel() for p in slow.model.parameters()),
    }
    index = pq.read_table(inputs["proxy"] / "proxy.parquet").to_pylist()
    kept = ("id", "shard", "row", "length", "domain")
    assert [{key: row[key] for key in kept} for row in rows(tmp_path)] == [
        {key: row[key] for key in kept} for row in index
    ]
    # once more: all is there
    before = files(tmp_path)
    (tmp_path / "working/passes").mkdir(parents=True)
    assert annotate(tmp_path, inputs) == counts
    assert files(tmp_path) == before
