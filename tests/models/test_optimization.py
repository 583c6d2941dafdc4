"""The learning rate of a training, step by step, and when its optimizer is fused."""

import functools
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from training_example import TRAINER, a_model, an_order, rows
from transformers import get_linear_schedule_with_warmup

from qurating.datamodules.tokens import TokenBlocks
from qurating.models.optimization import Optimization
from qurating.runtime.errors import StageError
from qurating.training.fit import fit


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


@pytest.mark.parametrize("num_steps", [6, 10, 50])
def test_a_warm_up_in_steps_is_the_same_in_every_training(num_steps: int) -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    trainer: Any = SimpleNamespace(estimated_stepping_batches=num_steps)
    make = functools.partial(torch.optim.SGD, lr=0.5)
    made = Optimization(make, get_linear_schedule_with_warmup, warmup_steps=5).configured([parameter], trainer)
    rates = []
    for _ in range(6):
        rates.append(made["optimizer"].param_groups[0]["lr"])
        made["optimizer"].step()
        made["lr_scheduler"]["scheduler"].step()
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4, 0.5])


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "warmup_fraction=null and warmup_steps=null: set one of them, and null for the other"),
        ({"warmup_fraction": 0.1, "warmup_steps": 5}, "warmup_fraction=0.1 and warmup_steps=5: set one"),
        ({"warmup_fraction": 1.0}, "at least 0 and less than 1"),
        ({"warmup_steps": 9}, "a warm-up of 9 steps does not fit into a training of 9 steps"),
        ({"warmup_steps": -1}, "a warm-up of -1 steps does not fit"),
    ],
)
def test_a_warm_up_that_cannot_be_is_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(StageError, match=message):
        Optimization(torch.optim.SGD, get_linear_schedule_with_warmup, **given).num_warmup_steps(9)


def trainer_with(scaler: object = None) -> Any:
    return SimpleNamespace(estimated_stepping_batches=10, precision_plugin=SimpleNamespace(scaler=scaler))


def configured(parameters: Any, optimizer: Any, trainer: Any) -> torch.optim.Optimizer:
    made = Optimization(optimizer, get_linear_schedule_with_warmup, 0.2).configured(parameters, trainer)
    found: torch.optim.Optimizer = made["optimizer"]
    return found


def test_adam_is_fused_and_takes_the_same_steps_to_rounding() -> None:
    torch.manual_seed(0)
    start, gradients = torch.randn(7, 5), torch.randn(20, 7, 5)
    ends = []
    settings: list[dict[str, Any]] = [{}, {"fused": False}]
    for chosen in settings:
        parameter = torch.nn.Parameter(start.clone())
        make = functools.partial(torch.optim.AdamW, lr=0.1, weight_decay=0.1, **chosen)
        groups = [{"params": [parameter], "weight_decay": 0.3}]
        optimizer = configured(groups, make, trainer_with())
        assert [group["fused"] for group in optimizer.param_groups] == [not chosen]
        assert optimizer.param_groups[0]["weight_decay"] == 0.3
        optimizer.param_groups[0]["lr"] = 0.1  # the schedule begins with 0
        for gradient in gradients:
            parameter.grad = gradient.clone()
            optimizer.step()
        ends.append(parameter.detach())
    assert torch.allclose(ends[0], ends[1], rtol=1e-5, atol=1e-6)
    assert not torch.allclose(ends[0], start, atol=0.1)


def test_parameters_may_be_an_iterator() -> None:
    layer = torch.nn.Linear(3, 2)
    optimizer = configured(layer.parameters(), torch.optim.AdamW, trainer_with())
    assert optimizer.defaults["fused"]
    assert len(optimizer.param_groups[0]["params"]) == 2


@pytest.mark.parametrize("chosen", [{"foreach": True}, {"fused": False}, {"differentiable": True}])
def test_what_the_user_sets_stays(chosen: dict[str, Any]) -> None:
    make = functools.partial(torch.optim.Adam, **chosen)
    optimizer = configured([torch.nn.Parameter(torch.zeros(1))], make, trainer_with())
    assert not optimizer.defaults["fused"]
    assert all(optimizer.defaults[key] == value for key, value in chosen.items())


def test_gradients_that_are_scaled_are_clipped_and_so_not_fused() -> None:
    parameter = torch.nn.Parameter(torch.zeros(1))
    assert not configured([parameter], torch.optim.AdamW, trainer_with(scaler=object())).defaults["fused"]


def test_a_training_in_bfloat16_clips_with_a_fused_optimizer(tmp_path: Path) -> None:
    order = an_order(tmp_path / "order")
    data = TokenBlocks(order, sequence_length=8, batch_size_sequences=4, micro_batch_size=2, vocabulary_size=64)
    model = a_model()
    trainer = functools.partial(TRAINER, precision="bf16-mixed")
    fit(model, data, trainer, tmp_path / "lm", gradient_clip_norm=1.0, checkpoint_every_steps=9, name="test")
    optimizer: Any = model.optimizers()
    assert optimizer.defaults["fused"]
    assert len(rows(tmp_path / "lm")) == 3
