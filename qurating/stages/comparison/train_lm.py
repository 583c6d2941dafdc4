"""Train a language model from scratch on a subset, in its order, and write it as a Hugging Face folder."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from transformers import PreTrainedModel

from qurating.models.optimization import Optimization
from qurating.training.fit import fit
from qurating.training.language_model import prepare, save


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
    """One pass over the tokens of `order`; writes the network, its tokenizer, and `metrics.csv`.

    Args:
        corpus: its tokenizer made the tokens.
        network, optimizer, schedule, warmup_fraction: see `qurating.models.networks` and `Optimization`.
        trainer, gradient_clip_norm, checkpoint_every_steps: see `fit`.
        sequence_length: tokens per block.
        batch_size_sequences: blocks per optimizer step, over all devices.
        micro_batch_size: blocks per forward pass on one device, at most.
    """
    module, data = prepare(
        corpus=corpus,
        order=order,
        network=network,
        optimization=Optimization(optimizer, schedule, warmup_fraction),
        sequence_length=sequence_length,
        batch_size_sequences=batch_size_sequences,
        micro_batch_size=micro_batch_size,
        seed=seed,
    )
    fit(
        module,
        data,
        trainer,
        output,
        gradient_clip_norm=gradient_clip_norm,
        checkpoint_every_steps=checkpoint_every_steps,
        name="lm",
    )
    return save(module, data, corpus, output)
