"""The training loss of a whole optimizer step."""

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.distributed.tensor import DTensor


class NotFiniteError(Exception):
    """A loss or a gradient is not finite; raised before the optimizer step that it would spoil."""


class StepLoss:
    """The mean loss over all forward passes of a step, on all devices; that of the last pass alone is mostly noise."""

    def __init__(self) -> None:
        self._parts: list[Tensor] = []

    def add(self, loss: Tensor, weight: Tensor) -> None:
        """Add the mean loss of a forward pass and its weight, scalars; a weight of 0 has no effect."""
        self._parts.append(torch.stack([loss.detach() * weight, weight.to(loss.dtype)]))

    def log(self, module: pl.LightningModule) -> None:
        """Log the mean of the losses since the last call as `train/loss`; call it once per step, on every device.

        Raises NotFiniteError on every device if the loss of one of them is not finite.
        """
        total, weight = module.trainer.strategy.reduce(torch.stack(self._parts).sum(dim=0), reduce_op="sum")
        self._parts.clear()
        if not torch.isfinite(total):
            raise NotFiniteError("the loss")
        module.log("train/loss", total / weight, on_step=True, prog_bar=True)


def check_gradients(module: pl.LightningModule) -> None:
    """Raise NotFiniteError if a gradient is not finite, unless gradients are scaled and such steps are skipped."""
    if getattr(module.trainer.precision_plugin, "scaler", None) is None:
        gradients = [parameter.grad for parameter in module.parameters() if parameter.grad is not None]
        norm = torch.nn.utils.get_total_norm(gradients)
        if not torch.isfinite(norm.full_tensor() if isinstance(norm, DTensor) else norm):  # of all shards
            raise NotFiniteError("a gradient")
