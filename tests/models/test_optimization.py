"""The learning rate of a training, step by step."""

import functools
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from transformers import get_linear_schedule_with_warmup

from qurating.models.optimization import Optimization


def test_it_warms_up_and_decays_over_the_steps_of_the_trainer() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    trainer: Any = SimpleNamespace(estimated_stepping_batches=10.0)  # a float, as Lightning has it
    optimization = Optimization(functools.partial(torch.optim.SGD, lr=0.5), get_linear_schedule_with_warmup, 0.2)
    made = optimization.configured([parameter], trainer)
    assert made["lr_scheduler"]["interval"] == "step"
    rates = []
    for _ in range(10):
        rates.append(made["optimizer"].param_groups[0]["lr"])
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    expected = [0.5 * min(step / 2, (10 - step) / 8) for step in range(10)]
    assert rates == pytest.approx(expected)
