"""Train a language model from scratch on a subset, in its order, and write it as a Hugging Face folder."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from transformers import PreTrainedModel

from qurating.models.optimization import Optimization
from qurating.training.language_model import train_language_model


def train_lm(
    *,
    output: Path,
    corpus: Path,
    order: Path,
    network: Callable[..., PreTrainedModel],
    optimizer: Callable[..., Any],
    schedule: Callable[..., Any],
    trainer: functools.partial[pl.Trainer],
    warmup_fraction: float,
    gradient_clip_norm: float | None,
    sequence_length: int,
    batch_size_sequences: int,
    micro_batch_size: int,
    checkpoint_every_steps: int,
    seed: int,
) -> dict[str, Any]:
    """Train for one pass over the tokens of `order`; see `train_language_model` for the output and the settings."""
    return train_language_model(
        output=output,
        corpus=corpus,
        order=order,
        network=network,
        optimization=Optimization(optimizer, schedule, warmup_fraction),
        trainer=trainer,
        gradient_clip_norm=gradient_clip_norm,
        sequence_length=sequence_length,
        batch_size_sequences=batch_size_sequences,
        micro_batch_size=micro_batch_size,
        checkpoint_every_steps=checkpoint_every_steps,
        seed=seed,
    )
