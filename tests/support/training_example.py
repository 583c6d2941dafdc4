"""A tiny language model, trained on a short stream of tokens."""

import csv
import functools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from transformers import get_cosine_with_min_lr_schedule_with_warmup

from qurating.artifacts.files import write_table
from qurating.datamodules.tokens import TokenBlocks
from qurating.models import networks
from qurating.models.language_model import LanguageModel
from qurating.models.optimization import Optimization
from qurating.training.fit import fit

TRAINER = functools.partial(
    pl.Trainer,
    accelerator="cpu",
    devices=1,
    enable_model_summary=False,
    enable_progress_bar=True,
    log_every_n_steps=1,
)


class Watched(LanguageModel):
    """Records the tokens each forward pass saw, and fails at one of them."""

    fail_at: int | None = None

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        if batch_idx == self.fail_at:
            raise RuntimeError("pulled the plug")
        self.seen = [*getattr(self, "seen", []), batch["input_ids"].clone()]
        return super().training_step(batch, batch_idx)


def a_model(seed: int = 1, **changed: Any) -> Watched:
    torch.manual_seed(1)
    network = networks.language_model(
        "llama",
        vocabulary_size=64,
        eos_token_id=0,
        hidden_size=16,
        intermediate_size=32,
        num_attention_heads=2,
        num_key_value_heads=1,
        **{"num_hidden_layers": 1} | changed,
    )
    optimizer = functools.partial(torch.optim.AdamW, lr=1e-2)
    schedule = functools.partial(get_cosine_with_min_lr_schedule_with_warmup, min_lr_rate=0.1)
    return Watched(network, Optimization(optimizer, schedule, warmup_fraction=0.2), seed=seed)


def an_order(folder: Path) -> Path:
    """A stream of 93 tokens, of sequences of 10 with the ids 100, 101, …"""
    folder.mkdir()
    starts = np.arange(0, 93, 10)
    lengths = np.minimum(10, 93 - starts).astype(np.int32)
    write_table(folder / "order.parquet", pa.table({"id": 100 + starts // 10, "offset": starts, "length": lengths}))
    # 11 full blocks of 8 and a piece of 5: the last step is neither full in blocks nor in tokens
    np.save(folder / "tokens.npy", np.random.default_rng(0).integers(1, 64, 93).astype(np.uint16))
    return folder


def train(
    order: Path,
    output: Path,
    micro_batch_size: int = 2,
    fail_at: int | None = None,
    every_steps: int = 1,
    callbacks: Sequence[Callback] = (),
    precision: str = "32-true",
    gradient_checkpointing: bool = False,
    compiles: bool = False,
    **changed: Any,
) -> Watched:
    """Train a model of `a_model(**changed)`."""
    model = a_model(**changed)
    model.fail_at, model.compiles = fail_at, compiles
    if gradient_checkpointing:
        networks.recompute_layers(model.network)
    data = TokenBlocks(
        order, sequence_length=8, batch_size_sequences=4, micro_batch_size=micro_batch_size, vocabulary_size=64
    )
    fit(
        model,
        data,
        functools.partial(TRAINER, precision=precision),
        output,
        gradient_clip_norm=1.0,
        checkpoint_every_steps=every_steps,
        name="test",
        callbacks=callbacks,
    )
    return model


def weights(model: pl.LightningModule) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def rows(output: Path) -> list[dict[str, str]]:
    with open(output / "metrics.csv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))
