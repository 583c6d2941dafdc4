"""The pairwise Bradley-Terry rater as a Lightning module."""

from collections.abc import Sequence
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.optim import Optimizer

from qurating.metrics import bradley_terry
from qurating.models import sharding
from qurating.models.optimization import Optimization
from qurating.models.step_loss import StepLoss
from qurating.runtime.errors import StageError


class Rater(pl.LightningModule):
    """A sequence classifier with one output per criterion, trained on pairs with the Bradley-Terry loss.

    Args:
        network: a Hugging Face sequence-classification model, decoder or encoder, with LoRA or without; its outputs
            (texts, criteria) are the ratings.
        criteria: names of the outputs, in order.
        optimization: of its weights.
        seed: of the random numbers (dropout), which are a function of it and the step.
    """

    def __init__(
        self,
        network: torch.nn.Module,
        criteria: Sequence[str],
        optimization: Optimization,
        seed: int,
    ) -> None:
        super().__init__()
        self.network = network
        self.criteria = list(criteria)
        self.optimization = optimization
        self.seed = seed
        self._step_loss = StepLoss()
        self._validated: list[tuple[Tensor, Tensor, Tensor]] = []

    def configure_model(self) -> None:
        sharding.shard(self.network, self.device_mesh)

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Ratings (texts, criteria), float32, of right-padded texts (texts, tokens)."""
        return self.network(input_ids=input_ids, attention_mask=attention_mask).logits.float()

    def scores(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Ratings of both texts, A and B, of each pair of a batch of `Judgments`, (pairs, criteria) each."""
        longer = self(batch["longer_ids"], batch["longer_mask"])
        shorter = self(batch["shorter_ids"], batch["shorter_mask"])
        b_is_longer = batch["b_is_longer"][:, None]
        return torch.where(b_is_longer, shorter, longer), torch.where(b_is_longer, longer, shorter)

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        # one seed per step, so that a resumed run draws the same random numbers
        torch.manual_seed(self.seed + batch_idx)
        loss = bradley_terry.loss(*self.scores(batch), batch["preference"])
        self._step_loss.add(loss, batch["weight"])
        return batch["weight"] * loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self._step_loss.log(self)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self._validated.append((*self.scores(batch), batch["preference"]))

    def on_validation_epoch_end(self) -> None:
        # every device validates on the whole validation set
        a, b, preference = (torch.cat(parts) for parts in zip(*self._validated, strict=True))
        self._validated.clear()
        if not (a.isfinite().all() and b.isfinite().all()):
            raise StageError(
                f"the rater diverged: at step {self.global_step} its ratings are not numbers; lower "
                "rater.optimizer.lr, or raise rater.warmup_fraction"
            )
        self.log("validation/loss", bradley_terry.loss(a, b, preference))
        agreement = torch.nanmean(bradley_terry.agreement(a, b, preference))
        self.log("validation/accuracy", agreement, prog_bar=True)

    def configure_optimizers(self) -> dict[str, Any]:
        # with LoRA, the adapters and the head alone
        return self.optimization.configured([p for p in self.parameters() if p.requires_grad], self.trainer)
