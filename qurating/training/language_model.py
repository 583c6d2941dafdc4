"""A language model before its training, and after."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from transformers import AutoTokenizer, PreTrainedModel

from qurating.artifacts.seeds import seed_for
from qurating.corpus import tokenizing
from qurating.corpus.tokenizing import vocabulary_size
from qurating.datamodules.tokens import TokenBlocks
from qurating.models import networks
from qurating.models.language_model import LanguageModel
from qurating.models.optimization import Optimization
from qurating.runtime.errors import StageError
from qurating.training.throughput import Throughput


def prepare(
    *,
    corpus: Path,
    order: Path,
    network: Callable[..., PreTrainedModel] | None,
    from_pretrained: str | None = None,
    optimization: Optimization,
    sequence_length: int,
    batch_size_sequences: int,
    micro_batch_size: int,
    seed: int,
    gradient_checkpointing: bool = False,
    compiles: bool = False,
) -> tuple[LanguageModel, TokenBlocks]:
    """A network with random or given weights, and one pass over the tokens of an order.

    Args:
        corpus: its tokenizer made the tokens.
        order: folder with `tokens.npy`, the tokens in their order.
        network: makes the network, see `qurating.models.networks`; not called with `from_pretrained`.
        from_pretrained: the model to continue from, a folder or a name of the Hub; None: random weights.
        sequence_length: tokens per block.
        batch_size_sequences: blocks per optimizer step, over all devices.
        micro_batch_size: blocks per forward pass on one device, at most.
        gradient_checkpointing: keep the inputs of layers alone, and compute the layers again in the backward pass.
        compiles: compile the layers.

    Raises:
        StageError: the tokens of the order cannot be those of the tokenizer, or are fewer than one batch or than the
            warm-up takes; a network that cannot be made or loaded, or has fewer positions than a block has tokens.
    """
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    size = vocabulary_size(tokenizer)
    data = TokenBlocks(order, sequence_length, batch_size_sequences, micro_batch_size, size)
    if len(data.tokens) < sequence_length * batch_size_sequences:
        raise StageError(
            f"{order} has {len(data.tokens):,} tokens, fewer than one batch of {batch_size_sequences:,} × "
            f"{sequence_length:,} = {sequence_length * batch_size_sequences:,}: select more tokens, or lower "
            "model.batch_size_sequences or model.sequence_length"
        )
    optimization.num_warmup_steps(data.num_steps)
    with networks.making("the language model's network"):
        if from_pretrained is not None:
            made = networks.pretrained_language_model(from_pretrained, tokenizer=tokenizer)
        else:
            assert network is not None
            torch.manual_seed(seed_for(seed, "train_lm", "weights"))
            made = network(vocabulary_size=size, eos_token_id=tokenizer.eos_token_id)
        if gradient_checkpointing:
            networks.recompute_layers(made)
    limit = networks.num_positions(made.config)
    if limit is not None and sequence_length > limit:
        raise StageError(
            f"model.sequence_length={sequence_length}, and the network has {limit} positions: lower it, or raise "
            "model.network.max_position_embeddings"
        )
    dropout = seed_for(seed, "train_lm", "dropout") >> 32
    return LanguageModel(made, optimization, seed=dropout, compiles=compiles), data


def save(
    module: LanguageModel, data: TokenBlocks, throughput: Throughput, corpus: Path, output: Path
) -> dict[str, Any]:
    """Write a trained network and its tokenizer; `fit.clear` then deletes what only the training needed.

    In a distributed run every process calls this; the first writes.

    Returns:
        counts; an empty dict on every process but the first.
    """
    network = module.whole_network()
    if not module.trainer.is_global_zero:
        return {}
    network.save_pretrained(output)
    tokenizing.save(AutoTokenizer.from_pretrained(corpus / "tokenizer"), output)
    return {
        "tokens": len(data.tokens),
        "steps": data.num_steps,
        "parameters": network.num_parameters(),
        **throughput.counts(),
    }
