"""Train a scorer on annotated sequences, to score a whole corpus with."""

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
from tqdm import tqdm
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from qurating.artifacts.files import write_json
from qurating.artifacts.seeds import seed_for
from qurating.corpus.token_reader import TokenReader
from qurating.datamodules.scores import Scores
from qurating.metrics.held_out import SEQUENCES
from qurating.metrics.scorer import report
from qurating.models.networks import making
from qurating.models.optimization import Optimization
from qurating.models.rating_networks import check_padding, mask_of
from qurating.models.scorer import Scorer
from qurating.models.scorer_networks import ScorerNetwork, save_scorer
from qurating.reports import figures, style
from qurating.runtime.errors import StageError
from qurating.training.checkpoints import load_best
from qurating.training.fit import clear, fit


def train_scorer(
    *,
    output: Path,
    corpus: Path,
    annotation: Path,
    network: Callable[..., tuple[PreTrainedModel, PreTrainedTokenizerBase]],
    optimizer: Callable[..., Any],
    schedule: Callable[..., Any],
    trainer: functools.partial[pl.Trainer],
    warmup_fraction: float,
    gradient_clip_norm: float | None,
    batch_size_sequences: int,
    micro_batch_size: int,
    num_epochs: int,
    max_tokens: int,
    clip_standard_deviations: float,
    validation_fraction: float,
    checkpoint_every_steps: int,
    seed: int,
) -> dict[str, Any]:
    """Train by the mean squared error; keep the weights with the best rank correlation on the validation sequences.

    Writes the scorer (see `qurating.models.scorer_networks`; its scores are standard deviations of the annotated ones
    from their mean), `validation.json` (see `qurating.metrics.scorer`), `predicted_vs_annotated.png` and `metrics.csv`.

    Args:
        corpus: the corpus of the annotated sequences.
        network: makes the encoder and its tokenizer, see `qurating.models.networks`. If its vocabulary differs from
            that of the corpus, the texts of the sequences are tokenised again.
        max_tokens: of a window; the score of a longer sequence is the mean over its windows, weighted by length.
        clip_standard_deviations: labels are clipped at this distance from their mean.

    Raises:
        StageError: an annotation that cannot be learned from, see `Scores`; an encoder that cannot be created, or has
            no positions for `max_tokens`; a training that diverges.
    """
    if not clip_standard_deviations > 0:
        raise StageError(f"scorer.clip_standard_deviations={clip_standard_deviations}: it must be above 0")
    torch.manual_seed(seed_for(seed, "train_scorer", "weights"))
    made, tokenizer = _scorer_network(network, AutoTokenizer.from_pretrained(corpus / "tokenizer"))
    limit = made.max_tokens()
    if max_tokens < 1 or (limit is not None and max_tokens > limit):
        raise StageError(f"scorer.max_tokens={max_tokens}: the encoder reads 1 to {limit or 'any number of'} tokens")
    data = Scores(
        corpus,
        annotation,
        TokenReader(corpus, tokenizer),
        max_tokens=max_tokens,
        batch_size_sequences=batch_size_sequences,
        micro_batch_size=micro_batch_size,
        num_epochs=num_epochs,
        validation_fraction=validation_fraction,
        seed=seed_for(seed, *SEQUENCES),
    )
    module = Scorer(
        made,
        clip_standard_deviations,
        Optimization(optimizer, schedule, warmup_fraction),
        seed_for(seed, "train_scorer", "dropout") >> 32,
    )
    fit(
        module,
        data,
        trainer,
        output,
        gradient_clip_norm=gradient_clip_norm,
        checkpoint_every_steps=checkpoint_every_steps,
        name="scorer",
        validate_every_steps=data.steps_per_epoch,
        best_by="validation/spearman",
    )
    if not module.trainer.is_global_zero:
        return {}
    load_best(output, module)
    annotated, predicted = data.standardised[data.validation], predictions(module, data)
    found = report(annotated, predicted, clip_standard_deviations, [data.domains[i] for i in data.validation])
    write_json(output / "validation.json", found)
    figure = figures.predicted_vs_annotated(annotated, predicted, clip_standard_deviations, found)
    style.save(figure, output / "predicted_vs_annotated.png")
    settings = {
        "label_mean": data.mean,
        "label_std": data.std,
        "clip_standard_deviations": clip_standard_deviations,
        "max_tokens": max_tokens,
    }
    save_scorer(output, made.cpu(), tokenizer, settings)
    clear(output)
    return {
        "training_sequences": len(data.training),
        "validation_sequences": len(data.validation),
        "parameters": sum(weight.numel() for weight in made.parameters()),
        "spearman": found["spearman"],
    }


def _scorer_network(
    network: Callable[..., tuple[PreTrainedModel, PreTrainedTokenizerBase]], tokenizer: PreTrainedTokenizerBase
) -> tuple[ScorerNetwork, PreTrainedTokenizerBase]:
    with making("the scorer's encoder"):
        encoder, own = network(tokenizer=tokenizer)
        made = ScorerNetwork(encoder).eval()
        check_padding(lambda ids, lengths: made(ids, mask_of(ids, lengths)), encoder)
        return made.train(), own


@torch.inference_mode()
def predictions(module: Scorer, data: Scores) -> np.ndarray:
    """Predicted scores of the validation sequences, float64, in standard deviations."""
    # Lightning moved the module back to the CPU
    device = module.trainer.strategy.root_device
    module.eval().to(device)
    parts = []
    for batch in tqdm(data.batches(data.validation), desc="validate", unit="batch", mininterval=0.5):
        parts.append(module({name: values.to(device) for name, values in batch.items()}).cpu().numpy())
    return np.concatenate(parts).astype(np.float64)
