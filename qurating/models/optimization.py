"""The optimizer and learning-rate schedule of a Lightning module."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch.optim import Optimizer

from qurating.runtime import internals


@dataclass(frozen=True)
class Optimization:
    """An optimizer and its learning-rate schedule, over all steps of the trainer.

    Args:
        optimizer: parameters, or groups of them -> optimizer.
        schedule: (optimizer, num_warmup_steps, num_training_steps) -> learning-rate schedule, stepped every step.
        warmup_fraction: of all steps.
    """

    optimizer: Callable[..., Optimizer]
    schedule: Callable[..., Any]
    warmup_fraction: float

    def configured(self, parameters: Any, trainer: pl.Trainer) -> dict[str, Any]:
        """What `configure_optimizers` returns to Lightning."""
        optimizer = self._optimizer(list(parameters), trainer)
        steps = int(trainer.estimated_stepping_batches)
        schedule = self.schedule(
            optimizer, num_warmup_steps=round(self.warmup_fraction * steps), num_training_steps=steps
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    def _optimizer(self, parameters: list[Any], trainer: pl.Trainer) -> Optimizer:
        """The optimizer, fused where that can be and nothing else is set.

        A fused step is the same arithmetic in one pass over the memory. Results differ by rounding alone, as they do
        between versions of torch, so that this is no part of the settings.
        """
        # an optimizer writes its own defaults into the groups that it is given
        optimizer = self.optimizer([dict(each) if isinstance(each, dict) else each for each in parameters])
        chosen = any(optimizer.defaults.get(key) for key in ("foreach", "differentiable", "capturable"))
        trained = [parameter for group in optimizer.param_groups for parameter in group["params"]]
        if (
            type(optimizer) not in (torch.optim.Adam, torch.optim.AdamW)
            or optimizer.defaults["fused"] is not None
            or chosen
            or not all(each.device.type in ("cpu", "cuda") and each.is_floating_point() for each in trained)
            or getattr(trainer.precision_plugin, "scaler", None) is not None  # it could not be clipped
        ):
            return optimizer
        return internals.clippable(self.optimizer(parameters, fused=True))
