"""Train a language model from scratch on the tokens of an order."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from transformers import AutoTokenizer, PreTrainedModel

from qurating.artifacts.seeds import seed_for
from qurating.datamodules.tokens import TokenBlocks
from qurating.models.language_model import LanguageModel
from qurating.models.optimization import Optimization
from qurating.training.fit import clear, fit


def train_language_model(
    *,
    output: Path,
    corpus: Path,
    order: Path,
    network: Callable[..., PreTrainedModel],
    optimization: Optimization,
    trainer: functools.partial[pl.Trainer],
    gradient_clip_norm: float | None,
    sequence_length: int,
    batch_size_sequences: int,
    micro_batch_size: int,
    checkpoint_every_steps: int,
    seed: int,
) -> dict[str, Any]:
    """One pass over the tokens of an order; writes the network, its tokenizer, and `metrics.csv`.

    In a distributed run every process calls this; the first writes.

    Args:
        corpus: its tokenizer made the tokens.
        order: folder with `tokens.npy`, the tokens in their order.
        network: makes the network, see `qurating.models.networks`.
        trainer, gradient_clip_norm, checkpoint_every_steps: see `fit`.
        sequence_length: tokens per block.
        batch_size_sequences: blocks per optimizer step, over all devices.
        micro_batch_size: blocks per forward pass on one device, at most.

    Returns:
        counts; an empty dict on every process but the first.
    """
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    data = TokenBlocks(order, sequence_length, batch_size_sequences, micro_batch_size)
    torch.manual_seed(seed_for(seed, "train_lm", "weights"))
    made = network(vocabulary_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id)
    module = LanguageModel(made, optimization)
    fit(
        module,
        data,
        trainer,
        output,
        gradient_clip_norm=gradient_clip_norm,
        checkpoint_every_steps=checkpoint_every_steps,
        name="lm",
    )
    if not module.trainer.is_global_zero:
        return {}
    made.save_pretrained(output)
    tokenizer.save_pretrained(output)
    clear(output)
    return {"tokens": len(data.tokens), "steps": data.num_steps, "parameters": made.num_parameters()}
