"""A trajectory kept in each way: the same states, in any order, after any interruption."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from qurating.lqs.trajectory import KINDS, Trajectory

NUM_STEPS = 11


class Training:
    """SGD on a small regression, whose steps depend on t and the weights alone."""

    def __init__(self) -> None:
        torch.manual_seed(0)
        self.model = nn.Sequential(nn.Linear(5, 7), nn.Tanh(), nn.Linear(7, 1))
        self.steps: list[int] = []

    def step(self, t: int) -> float:
        self.steps.append(t)
        draw = torch.Generator().manual_seed(t)
        inputs = torch.randn(20, 5, generator=draw)
        loss = ((self.model(inputs)[:, 0] - inputs[:, 0]) ** 2).mean()
        gradients = torch.autograd.grad(loss, list(self.model.parameters()))
        with torch.no_grad():
            for parameter, gradient in zip(self.model.parameters(), gradients, strict=True):
                parameter.sub_(gradient, alpha=0.1)
        return loss.item()

    def weights(self) -> Tensor:
        return torch.cat([p.detach().flatten() for p in self.model.parameters()])

    def trajectory(self, folder: Path, kind: str, **changes: Any) -> Trajectory:
        return Trajectory(folder, kind, self.model, NUM_STEPS, self.step, **changes)


@pytest.fixture(scope="module")
def states() -> list[Tensor]:
    training = Training()
    found = [training.weights()]
    for t in range(NUM_STEPS):
        training.step(t)
        found.append(training.weights())
    return found


@pytest.mark.parametrize("order", ["descending", "ascending", "random"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_state_is_found_again(tmp_path: Path, states: list[Tensor], kind: str, order: str) -> None:
    training = Training()
    trajectory = training.trajectory(tmp_path, kind)
    losses = trajectory.run()
    assert torch.equal(training.weights(), states[-1])
    again = Training()
    assert losses == [again.step(t) for t in range(NUM_STEPS)]
    steps = {"descending": range(NUM_STEPS, -1, -1), "ascending": range(NUM_STEPS + 1)}.get(
        order, torch.randperm(NUM_STEPS + 1).tolist()
    )
    for t in steps:
        trajectory.go_to(t)
        if kind == "bf16_differences" and t not in {0, NUM_STEPS}:
            moved = (states[t] - states[0]).norm()
            assert 0 < (training.weights() - states[t]).norm() < 0.005 * moved
        else:
            assert torch.equal(training.weights(), states[t])


def test_recomputing_takes_few_states_and_each_step_once_more(tmp_path: Path) -> None:
    training = Training()
    trajectory = training.trajectory(tmp_path, "recompute")
    trajectory.run()
    assert sorted(file.stem for file in tmp_path.iterdir()) == ["state-0", "state-11", "state-4", "state-8"]
    training.steps.clear()
    for t in range(NUM_STEPS, -1, -1):
        trajectory.go_to(t)
    assert sorted(training.steps) == [0, 1, 2, 4, 5, 6, 8, 9]
    for first in range(NUM_STEPS + 1):
        training.steps.clear()
        trajectory = training.trajectory(tmp_path, "recompute")
        for t in range(first, -1, -1):
            trajectory.go_to(t)
        assert trajectory.recomputed_steps(first) == len(training.steps)


@pytest.mark.parametrize("moment", ["step", "before the rename", "after the rename"])
@pytest.mark.parametrize("kind", KINDS)
def test_an_interrupted_training_goes_on(
    tmp_path: Path, states: list[Tensor], monkeypatch: pytest.MonkeyPatch, kind: str, moment: str
) -> None:
    """Cut short again and again, each time a little later."""
    rename: Callable[[Any, Any], None] = os.replace
    done = 0
    for attempt in range(2 * NUM_STEPS):
        training = Training()
        trajectory = training.trajectory(tmp_path, kind)
        reached = trajectory.steps_done()
        assert reached >= done
        done = reached
        with monkeypatch.context() as patched:
            calls = [0]

            def cut(*_: Any, calls: list[int] = calls, attempt: int = attempt) -> Any:
                calls[0] += 1
                return calls[0] > 1 + attempt % 4

            def replace(source: Any, target: Any, cut: Callable[..., Any] = cut) -> None:
                if moment == "before the rename" and cut():
                    raise InterruptedError
                rename(source, target)
                if moment == "after the rename" and cut():
                    raise InterruptedError

            def step(t: int, training: Training = training, cut: Callable[..., Any] = cut) -> float:
                if moment == "step" and cut():
                    raise InterruptedError
                return training.step(t)

            patched.setattr(os, "replace", replace)
            trajectory.step = step
            try:
                losses = trajectory.run()
            except InterruptedError:
                continue
        break
    else:
        pytest.fail("it never finished")
    assert attempt > 0
    assert torch.equal(training.weights(), states[-1])
    fresh = Training()
    assert losses == [fresh.step(t) for t in range(NUM_STEPS)]
    trajectory.step = training.step
    for t in (NUM_STEPS - 1, 5, 1):
        trajectory.go_to(t)
        assert torch.allclose(training.weights(), states[t], atol=0 if kind != "bf16_differences" else 1e-2)


def test_one_process_writes_and_another_reads(tmp_path: Path, states: list[Tensor]) -> None:
    other = Training()
    reader = other.trajectory(tmp_path, "recompute", writes=False)
    reader.run()
    assert not list(tmp_path.iterdir())
    Training().trajectory(tmp_path, "recompute").run()
    reader.go_to(6)
    assert torch.equal(other.weights(), states[6])


def test_unknown_kinds_and_states_are_refused(tmp_path: Path) -> None:
    training = Training()
    with pytest.raises(ValueError, match="keep, bf16_differences, recompute, not 'all'"):
        training.trajectory(tmp_path, "all")
    trajectory = training.trajectory(tmp_path, "keep")
    trajectory.run()
    with pytest.raises(ValueError, match="no state 12 among 0 to 11"):
        trajectory.go_to(12)
