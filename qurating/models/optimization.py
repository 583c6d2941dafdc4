"""The optimizer and learning-rate schedule of a Lightning module."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
import torch
from torch.optim import Optimizer

from qurating.runtime import internals
from qurating.runtime.errors import StageError


@dataclass(frozen=True)
class Optimization:
    """An optimizer and its learning-rate schedule, over all steps of the trainer.

    Args:
        optimizer: parameters, or groups of them -> optimizer.
        schedule: (optimizer, num_warmup_steps, num_training_steps) -> learning-rate schedule, stepped every step.
        warmup_fraction, warmup_steps: of the warm-up, a fraction of all steps or a number of them; one of both is set.

    Raises:
        StageError: both or none of `warmup_fraction` and `warmup_steps`, or a fraction outside [0, 1).
    """

    optimizer: Callable[..., Optimizer]
    schedule: Callable[..., Any]
    warmup_fraction: float | None = None
    warmup_steps: int | None = None

    def __post_init__(self) -> None:
        if (self.warmup_fraction is None) == (self.warmup_steps is None):
            raise StageError(
                f"warmup_fraction={_shown(self.warmup_fraction)} and warmup_steps={_shown(self.warmup_steps)}: set one "
                "of them, and null for the other"
            )
        if self.warmup_fraction is not None and not 0 <= self.warmup_fraction < 1:
            raise StageError(f"warmup_fraction={self.warmup_fraction}: it is at least 0 and less than 1")

    def num_warmup_steps(self, num_steps: int) -> int:
        """The steps of the warm-up of a training; raises StageError if the training would end before the warm-up."""
        if self.warmup_steps is None:
            return round((self.warmup_fraction or 0.0) * num_steps)
        if not 0 <= self.warmup_steps < num_steps:
            raise StageError(
                f"a warm-up of {self.warmup_steps:,} steps does not fit into a training of {num_steps:,} steps: lower "
                "warmup_steps, or set warmup_fraction=0.05 warmup_steps=null; or train on more tokens, or in smaller "
                "batches"
            )
        return self.warmup_steps

    def configured(self, parameters: Any, trainer: pl.Trainer) -> dict[str, Any]:
        """What `configure_optimizers` returns to Lightning."""
        optimizer = self._optimizer(list(parameters), trainer)
        steps = int(trainer.estimated_stepping_batches)
        schedule = self.schedule(optimizer, num_warmup_steps=self.num_warmup_steps(steps), num_training_steps=steps)
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


def _shown(value: float | None) -> str:
    return "null" if value is None else str(value)
