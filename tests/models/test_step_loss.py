"""The loss of a whole step, over its passes and devices."""

from types import SimpleNamespace
from typing import Any

import pytest
import torch

from qurating.models.step_loss import StepLoss


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
