"""The training loss of a whole optimizer step."""

import pytorch_lightning as pl
import torch
from torch import Tensor


class StepLoss:
    """The mean loss over all forward passes of a step, on all devices; that of the last pass alone is mostly noise."""

    def __init__(self) -> None:
        self._parts: list[Tensor] = []

    def add(self, loss: Tensor, weight: Tensor) -> None:
        """Add the mean loss of a forward pass and its weight, scalars; a weight of 0 has no effect."""
        self._parts.append(torch.stack([loss.detach() * weight, weight.to(loss.dtype)]))

    def log(self, module: pl.LightningModule) -> None:
        """Log the mean of the losses since the last call as `train/loss`; call it once per step, on every device."""
        total, weight = module.trainer.strategy.reduce(torch.stack(self._parts).sum(dim=0), reduce_op="sum")
        self._parts.clear()
        module.log("train/loss", total / weight, on_step=True, prog_bar=True)
