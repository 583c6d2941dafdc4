"""A Lightning training hands its metrics on while it runs."""

from collections.abc import Mapping
from pathlib import Path

import pytorch_lightning as pl
import torch
from torch.utils.data import DataLoader, TensorDataset

from qurating.training.live_metrics import LiveMetrics


class Line(pl.LightningModule):
    """One weight that follows the data."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def training_step(self, batch: list[torch.Tensor]) -> torch.Tensor:
        self.log("train/value", batch[0][0])
        return ((self.weight - batch[0]) ** 2).mean()

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def test_metrics_come_with_their_steps(tmp_path: Path) -> None:
    found: list[tuple[int, float]] = []

    def keep(metrics: Mapping[str, float], step: int) -> None:
        if "train/value" in metrics:
            found.append((step, metrics["train/value"]))

    trainer = pl.Trainer(
        max_epochs=1,
        logger=[LiveMetrics(keep)],
        log_every_n_steps=1,
        accelerator="cpu",
        enable_checkpointing=False,
        enable_progress_bar=False,
        enable_model_summary=False,
        default_root_dir=tmp_path,
    )
    trainer.fit(Line(), DataLoader(TensorDataset(torch.arange(3.0))))
    assert found == [(0, 0.0), (1, 1.0), (2, 2.0)]
