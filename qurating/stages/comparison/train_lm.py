"""Train a language model from scratch on a subset, in its order, and write it as a Hugging Face folder."""

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from transformers import AutoTokenizer, PreTrainedModel

from qurating.artifacts.seeds import seed_for
from qurating.datamodules.tokens import TokenBlocks
from qurating.models.language_model import LanguageModel
from qurating.training.fit import fit


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
        corpus: whose tokenizer belongs to the tokens.
        network: makes the network, see `qurating.models.networks`.
        sequence_length: tokens a block.
        batch_size_sequences: blocks an optimizer step, over all devices.
        micro_batch_size: blocks a forward pass on one device, at most.
    """
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    data = TokenBlocks(order, sequence_length, batch_size_sequences, micro_batch_size)
    torch.manual_seed(seed_for(seed, "train_lm", "weights"))
    made = network(vocabulary_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id)
    module = LanguageModel(made, optimizer, schedule, warmup_fraction)
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
    shutil.rmtree(output / "checkpoints", ignore_errors=True)
    shutil.rmtree(output / "metrics")
    return {"tokens": len(data.tokens), "steps": data.num_steps, "parameters": made.num_parameters()}
