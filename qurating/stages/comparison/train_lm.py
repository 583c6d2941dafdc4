"""Train a language model on a subset, in its order, and write it as a Hugging Face folder."""

import functools
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytorch_lightning as pl
from transformers import PreTrainedModel

from qurating.corpus.tokenizing import check_ids
from qurating.datamodules.ids_by_step import write_ids_by_step
from qurating.datamodules.tokens import TokenBlocks
from qurating.metrics.loss_curve import loss_curve
from qurating.models.heldout import check_reads, read_heldout
from qurating.models.language_model import LanguageModel
from qurating.models.optimization import Optimization
from qurating.reports.cards.language_model import write_card
from qurating.runtime.errors import StageError
from qurating.runtime.revisions import is_local
from qurating.training.curve import HeldOutLoss, steps_of_points
from qurating.training.fit import clear, fit
from qurating.training.language_model import prepare, save
from qurating.training.throughput import Throughput


def train_lm(
    *,
    output: Path,
    corpus: Path,
    order: Path,
    network: Callable[..., PreTrainedModel] | None,
    optimizer: Callable[..., Any],
    schedule: Callable[..., Any],
    trainer: functools.partial[pl.Trainer],
    warmup_fraction: float | None,
    gradient_clip_norm: float | None,
    sequence_length: int,
    batch_size_sequences: int,
    micro_batch_size: int,
    checkpoint_every_steps: int,
    seed: int,
    from_pretrained: str | None = None,
    warmup_steps: int | None = None,
    gradient_checkpointing: bool = False,
    compile: bool = False,
    heldout_points: int | None = None,
    heldout_at_tokens: Sequence[float] | None = None,
    heldout_max_tokens: int | None = None,
    record_ids: bool | None = None,
) -> dict[str, Any]:
    """One pass over the tokens of `order`; writes network, tokenizer, `metrics.csv`, `curve.parquet` and a model card.

    Args:
        corpus: its tokenizer made the tokens; the losses in `curve.parquet` are on its `heldout` shards.
        network, optimizer, schedule, warmup_fraction, warmup_steps: see `qurating.models.networks` and `Optimization`.
        trainer, gradient_clip_norm, checkpoint_every_steps: see `fit`.
        sequence_length: tokens per block.
        batch_size_sequences: blocks per optimizer step, over all devices.
        micro_batch_size: blocks per forward pass on one device, at most.
        from_pretrained: the model to continue from, a folder or a name of the Hub, in the place of `network`; the
            optimizer and the schedule begin anew. None: random weights.
        gradient_checkpointing, compile: less memory, or more speed, see `prepare`.
        heldout_points: how often the loss on held-out text is measured, see `training.curve.steps_of_points`. None or
            0: never, and no `curve.parquet` is written.
        heldout_at_tokens: when, instead: numbers of tokens.
        heldout_max_tokens: of a fixed sample of the held-out sequences, see `read_heldout`; None measures on all.
        record_ids: also write `ids_by_step.parquet`, see `datamodules.ids_by_step`.

    Raises:
        StageError: `heldout_points`, `heldout_at_tokens` or `heldout_max_tokens` make no sense; no held-out text, or
            none that the network can read; as `prepare` and `fit` do.
    """
    module, data = prepare(
        corpus=corpus,
        order=order,
        network=network,
        from_pretrained=from_pretrained,
        optimization=Optimization(optimizer, schedule, warmup_fraction, warmup_steps),
        sequence_length=sequence_length,
        batch_size_sequences=batch_size_sequences,
        micro_batch_size=micro_batch_size,
        seed=seed,
        gradient_checkpointing=gradient_checkpointing,
        compiles=compile,
    )
    throughput, curve = Throughput(data), None
    if points := steps_of_points(
        heldout_at_tokens or heldout_points, len(data.tokens), sequence_length * batch_size_sequences
    ):
        curve = _curve(module, data, corpus, heldout_max_tokens, points, micro_batch_size)
    fit(
        module,
        data,
        trainer,
        output,
        gradient_clip_norm=gradient_clip_norm,
        checkpoint_every_steps=checkpoint_every_steps,
        name="lm",
        callbacks=[throughput] if curve is None else [throughput, curve],
    )
    measured = {} if curve is None or not module.trainer.is_global_zero else curve.write(output / "curve.parquet")
    counts = save(module, data, throughput, corpus, output)
    if not counts:  # not the first process
        return {}
    if record_ids:
        write_ids_by_step(order, sequence_length * batch_size_sequences, output / "ids_by_step.parquet")
    write_card(
        output,
        order=order,
        tokens=counts["tokens"],
        training={
            "architecture": f"{module.network.config.model_type}, {counts['parameters']:,} parameters",
            # of a folder the last part alone: the paths of this machine are nobody's business
            "continued from": "random weights" if from_pretrained is None else base_name(from_pretrained),
            "tokens per step": f"{batch_size_sequences:,} sequences × {sequence_length:,} = "
            f"{batch_size_sequences * sequence_length:,}",
            "steps": f"{counts['steps']:,}",
            "optimizer": described(optimizer),
            "schedule": described(schedule),
            "precision": str(trainer.keywords.get("precision")),
            "seed": str(seed),
        },
        curve=None if curve is None else loss_curve(pq.read_table(output / "curve.parquet")),
    )
    clear(output)  # last: should anything fail before, the training is not lost
    return counts | measured


def base_name(model: str) -> str:
    """A model by its name on the Hub, or by the last part of its path."""
    return Path(model).expanduser().resolve().name if is_local(model) else model


def described(function: Callable[..., Any]) -> str:
    """A partial function for people: its name and the settings that it was given."""
    given: Mapping[str, Any] = getattr(function, "keywords", {})
    name = getattr(getattr(function, "func", function), "__name__", "unknown")
    return ", ".join([name, *(f"{key} {value}" for key, value in given.items())])


def _curve(
    module: LanguageModel,
    data: TokenBlocks,
    corpus: Path,
    max_tokens: int | None,
    points: Mapping[int, int],
    batch_size_sequences: int,
) -> HeldOutLoss:
    """What measures the held-out loss; everything that could go wrong with it is checked before the training."""
    if max_tokens is not None and max_tokens < 1:
        raise StageError(f"model.heldout_max_tokens={max_tokens}: it must be at least 1, or null for all")
    if not any((corpus / "heldout").glob("*.parquet")):
        raise StageError(
            f"{corpus} holds out no document: prepare it with corpus.heldout_fraction above 0, or train without a "
            "curve (model.heldout_points=0)"
        )
    heldout = read_heldout(corpus, max_tokens=max_tokens)
    check_ids(heldout.input_ids, data.vocabulary_size, corpus / "heldout")
    was_training = module.network.training
    check_reads(module.network.eval(), heldout, corpus)
    module.network.train(was_training)
    eos_token_id = module.network.config.eos_token_id
    if eos_token_id is None:
        raise StageError(f"{corpus / 'tokenizer'} has no end-of-text token, which the model reads before each sequence")
    return HeldOutLoss(heldout, points, eos_token_id, batch_size_sequences)
