"""The optimizer and learning-rate schedule of a Lightning module."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytorch_lightning as pl
from torch.optim import Optimizer


@dataclass(frozen=True)
class Optimization:
    """An optimizer and its learning-rate schedule, over all steps of the trainer.

    Args:
        optimizer: parameters, or groups of them -> optimizer.
        schedule: (optimizer, num_warmup_steps, num_training_steps) -> learning-rate schedule, stepped every step.
        warmup_fraction: of all steps.
    """

    optimizer: Callable[[Any], Optimizer]
    schedule: Callable[..., Any]
    warmup_fraction: float

    def configured(self, parameters: Any, trainer: pl.Trainer) -> dict[str, Any]:
        """What `configure_optimizers` returns to Lightning."""
        optimizer = self.optimizer(parameters)
        steps = int(trainer.estimated_stepping_batches)
        schedule = self.schedule(
            optimizer, num_warmup_steps=round(self.warmup_fraction * steps), num_training_steps=steps
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
