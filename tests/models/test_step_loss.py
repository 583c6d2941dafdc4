"""The loss of a whole step, over its passes and devices."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from qurating.models.step_loss import NotFiniteError, StepLoss, check_gradients


class Module:
    """Records what is logged, on two devices with the same parts."""

    def __init__(self) -> None:
        self.logged: list[tuple[str, float]] = []
        self.trainer = SimpleNamespace(strategy=SimpleNamespace(reduce=self.reduce))

    @staticmethod
    def reduce(value: torch.Tensor, reduce_op: str) -> torch.Tensor:
        assert reduce_op == "sum"
        return 2 * value

    def log(self, name: str, value: torch.Tensor, **_: Any) -> None:
        self.logged.append((name, float(value)))


def test_it_is_the_mean_over_all_targets_of_the_step_and_of_no_other() -> None:
    losses, weights = [2.0, 5.0, 100.0], [3, 1, 0]
    loss, module = StepLoss(), Module()
    for value, weight in zip(losses, weights, strict=True):
        loss.add(torch.tensor(value, requires_grad=True), torch.tensor(weight))
    loss.log(module)
    loss.add(torch.tensor(7.0), torch.tensor(2))
    loss.log(module)
    assert module.logged == [("train/loss", pytest.approx((3 * 2 + 5) / 4)), ("train/loss", 7.0)]


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_loss_that_is_not_finite_is_an_error(bad: float) -> None:
    loss, module = StepLoss(), Module()
    for value in (1.0, bad, 2.0):
        loss.add(torch.tensor(value), torch.tensor(3))
    with pytest.raises(NotFiniteError, match="the loss"):
        loss.log(module)


def test_a_step_without_targets_is_none() -> None:
    loss, module = StepLoss(), Module()
    loss.add(torch.tensor(0.0), torch.tensor(0))
    loss.log(module)
    assert len(module.logged) == 1


@pytest.mark.parametrize("bad", [torch.nan, torch.inf])
def test_a_gradient_that_is_not_finite_is_an_error_unless_such_steps_are_skipped(bad: float) -> None:
    module: Any = torch.nn.Linear(2, 2)
    module.trainer = SimpleNamespace(precision_plugin=SimpleNamespace())
    check_gradients(module)  # without gradients
    module.weight.grad, module.bias.grad = torch.ones(2, 2), torch.ones(2)
    check_gradients(module)
    module.bias.grad[1] = bad
    with pytest.raises(NotFiniteError, match="a gradient"):
        check_gradients(module)
    module.trainer.precision_plugin.scaler = object()
    check_gradients(module)
