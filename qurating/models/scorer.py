"""The scorer of LQS as a Lightning module."""

from typing import Any

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.optim import Optimizer

from qurating.metrics.ranks import spearman
from qurating.models.optimization import Optimization
from qurating.models.scorer_networks import ScorerNetwork
from qurating.models.step_loss import StepLoss
from qurating.runtime.errors import StageError


class Scorer(pl.LightningModule):
    """Learns the annotated scores of sequences by the mean squared error (DELT eq. 15).

    A batch holds `input_ids` and `attention_mask` (W, T) of the windows of B sequences, `sequence` (W,), the number of
    each window's sequence (0 to B − 1), and `label` (B,), the annotated scores, standardised. The prediction of a
    sequence is the mean over its windows, weighted by their lengths, as in the scores of a corpus.

    Args:
        network: scores windows.
        clip: labels are clipped to ±clip, in standard deviations.
        optimization: of its weights.
        seed: of the random numbers (dropout), which are a function of it and the step.

    Raises:
        StageError: at a validation, if a prediction is not a number.
    """

    def __init__(
        self,
        network: ScorerNetwork,
        clip: float,
        optimization: Optimization,
        seed: int,
    ) -> None:
        super().__init__()
        self.network = network
        self.clip = clip
        self.optimization = optimization
        self.seed = seed
        self._step_loss = StepLoss()
        self._validated: list[tuple[Tensor, Tensor]] = []

    def forward(self, batch: dict[str, Tensor]) -> Tensor:
        """Predicted scores (B,), float32, in standard deviations of the annotation."""
        by_window = self.network(batch["input_ids"], batch["attention_mask"])[:, 0]
        lengths = batch["attention_mask"].sum(dim=1).float()
        zeros = torch.zeros(len(batch["label"]), device=by_window.device)
        sums = zeros.index_add(0, batch["sequence"], by_window * lengths)
        return sums / zeros.index_add(0, batch["sequence"], lengths)

    def loss(self, predicted: Tensor, label: Tensor) -> Tensor:
        """Mean squared error over the sequences of a batch, with the labels clipped."""
        return F.mse_loss(predicted, label.clamp(-self.clip, self.clip))

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        # one seed per step, so that a resumed run draws the same random numbers
        torch.manual_seed(self.seed + batch_idx)
        loss = self.loss(self(batch), batch["label"])
        self._step_loss.add(loss, batch["weight"])
        return batch["weight"] * loss

    def on_before_optimizer_step(self, optimizer: Optimizer) -> None:
        self._step_loss.log(self)

    def validation_step(self, batch: dict[str, Tensor], batch_idx: int) -> None:
        self._validated.append((self(batch), batch["label"]))

    def on_validation_epoch_end(self) -> None:
        # every device validates on the whole validation set: rank correlations of parts do not average
        predicted, label = (torch.cat(parts) for parts in zip(*self._validated, strict=True))
        self._validated.clear()
        if not predicted.isfinite().all():
            raise StageError(
                f"the scorer diverged: at step {self.global_step} its predictions are not numbers; lower "
                "scorer.optimizer.lr, or raise scorer.warmup_fraction"
            )
        self.log("validation/loss", self.loss(predicted, label))
        self.log("validation/spearman", spearman(predicted.cpu().numpy(), label.cpu().numpy()), prog_bar=True)

    def configure_optimizers(self) -> dict[str, Any]:
        return self.optimization.configured(self.parameters(), self.trainer)
