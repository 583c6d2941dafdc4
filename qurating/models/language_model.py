"""The causal language model that is trained on a selected subset, as a Lightning module."""

from collections.abc import Callable
from typing import Any

import pytorch_lightning as pl
from torch import Tensor
from torch.optim import Optimizer
from transformers import PreTrainedModel

from qurating.models.step_loss import StepLoss


class LanguageModel(pl.LightningModule):
    """Next-token prediction on blocks of tokens.

    Args:
        network: a Hugging Face causal language model.
        optimizer: parameters -> optimizer.
        schedule: (optimizer, num_warmup_steps, num_training_steps) -> learning-rate schedule, stepped every step.
        warmup_fraction: of all steps.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        optimizer: Callable[[Any], Optimizer],
        schedule: Callable[..., Any],
        warmup_fraction: float,
    ) -> None:
        super().__init__()
        self.network = network
        self.optimizer = optimizer
        self.schedule = schedule
        self.warmup_fraction = warmup_fraction
        self._step_loss = StepLoss()

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        """Cross-entropy in nats per token; the batch holds `input_ids` and `labels` (−100: no target), both (B, T).

        The sum over the targets is divided by the targets of a full batch, B · (T − 1): in a last step that is not
        full each token weighs what it weighs in any other, whatever the accumulation and the number of devices.
        """
        labels = batch["labels"]
        full = labels.shape[0] * (labels.shape[1] - 1)
        loss = self.network(input_ids=batch["input_ids"], labels=labels, use_cache=False, num_items_in_batch=full).loss
        num_targets = (labels[:, 1:] != -100).sum()
        self._step_loss.add(loss * full / num_targets.clamp(min=1), num_targets)
        self.log("train/tokens", float(batch["tokens_seen"]), on_step=True)
        return loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self._step_loss.log(self)

    def configure_optimizers(self) -> dict[str, Any]:
        # no weight decay on norms and biases, as is usual
        decayed = [p for p in self.parameters() if p.ndim >= 2]
        others = [p for p in self.parameters() if p.ndim < 2]
        optimizer = self.optimizer([{"params": decayed}, {"params": others, "weight_decay": 0.0}])
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = self.schedule(
            optimizer, num_warmup_steps=round(self.warmup_fraction * steps), num_training_steps=steps
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
