"""The pairwise Bradley-Terry rater as a Lightning module."""

from collections.abc import Callable, Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer
from transformers import PreTrainedModel

from qurating import bradley_terry


class Rater(pl.LightningModule):
    """A sequence classifier with one output a criterion, trained on pairs by the Bradley-Terry loss.

    Args:
        network: a Hugging Face sequence-classification model; its outputs (texts, criteria) are the ratings.
        criteria: names of the outputs, in order.
        optimizer: parameters -> optimizer.
        schedule: (optimizer, num_warmup_steps, num_training_steps) -> learning-rate schedule, stepped every step.
        warmup_fraction: of all steps.
        seed: of the random numbers (dropout); each step's are a function of it and the step.
    """

    def __init__(
        self,
        network: PreTrainedModel,
        criteria: Sequence[str],
        optimizer: Callable[[Any], Optimizer],
        schedule: Callable[..., Any],
        warmup_fraction: float,
        seed: int,
    ) -> None:
        super().__init__()
        self.network = network
        self.criteria = list(criteria)
        self.optimizer = optimizer
        self.schedule = schedule
        self.warmup_fraction = warmup_fraction
        self.seed = seed
        self._agreements: list[Tensor] = []

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Ratings (texts, criteria) of right-padded texts (texts, tokens)."""
        return self.network(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits

    def scores(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Ratings of both texts of each pair, (pairs, criteria) each: the batch holds all A texts, then all B."""
        scores = self(batch["input_ids"], batch["attention_mask"])
        return tuple(scores.chunk(2))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        # one stream of random numbers a step: an interrupted run goes on with the very same
        torch.manual_seed(self.seed + batch_idx)
        loss = bradley_terry.loss(*self.scores(batch), batch["preference"])
        self.log("train/loss", loss, on_step=True, batch_size=len(batch["preference"]))
        return batch["weight"] * loss

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        scores_a, scores_b = self.scores(batch)
        loss = bradley_terry.loss(scores_a, scores_b, batch["preference"])
        self.log("validation/loss", loss, sync_dist=True, batch_size=len(scores_a))
        self._agreements.append(bradley_terry.agreement(scores_a, scores_b, batch["preference"]))

    def on_validation_epoch_end(self) -> None:
        agreements = torch.cat(self._agreements)
        self._agreements.clear()
        self.log("validation/accuracy", torch.nanmean(agreements), sync_dist=True, prog_bar=True)

    def configure_optimizers(self) -> dict[str, Any]:
        optimizer = self.optimizer(self.parameters())
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = self.schedule(
            optimizer, num_warmup_steps=round(self.warmup_fraction * steps), num_training_steps=steps
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}
