"""Train a rater on judgments, and write it as a Hugging Face folder with a model card."""

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
from qurating.corpus import tokenizing
from qurating.datamodules.judgments import Judgments
from qurating.metrics.held_out import PAIRS
from qurating.metrics.rater import report
from qurating.models import networks
from qurating.models.lora import merged
from qurating.models.optimization import Optimization
from qurating.models.rater import Rater
from qurating.models.rating_networks import MaskedRater, check_padding
from qurating.reports.cards import rater as rater_card
from qurating.training.checkpoints import load_best
from qurating.training.fit import clear, fit


def train_rater(
    *,
    output: Path,
    corpus: Path,
    judgments: Path,
    criteria: list[str],
    network: Callable[..., PreTrainedModel],
    lora: Callable[..., torch.nn.Module] | None,
    optimizer: Callable[..., Any],
    schedule: Callable[..., Any],
    trainer: functools.partial[pl.Trainer],
    warmup_fraction: float,
    gradient_clip_norm: float | None,
    batch_size_pairs: int,
    tokens_per_micro_batch: int,
    num_epochs: int,
    max_tokens: int,
    minimum_confidence: float,
    label_temperature: float,
    validation_fraction: float,
    checkpoint_every_steps: int,
    seed: int,
) -> dict[str, Any]:
    """Train with the Bradley-Terry loss; keep the weights with the best validation accuracy.

    Writes the network and its tokenizer, `criteria.json` (the names of the outputs in order), `validation.json` (see
    `qurating.metrics.rater`), the rater card (`README.md`, its figures in `card/`) and `metrics.csv`.

    Args:
        corpus: its tokenizer is used.
        criteria: outputs of the rater.
        network: makes the network, see `qurating.models.networks`.
        lora: adds adapters to the network, see `qurating.models.lora`; None trains all weights.
        max_tokens: maximum of a judged text.
        minimum_confidence: only pairs with |2p − 1| of at least this train.
        label_temperature: above 1 softens the preferences, below 1 sharpens them.

    Raises:
        StageError: unusable judgments, see `Judgments`; a network that cannot be loaded, or cannot read so many
            tokens; a training that diverges.
    """
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    data = Judgments(
        judgments,
        tokenizer,
        list(criteria),
        minimum_confidence=minimum_confidence,
        label_temperature=label_temperature,
        max_tokens=max_tokens,
        batch_size_pairs=batch_size_pairs,
        tokens_per_micro_batch=tokens_per_micro_batch,
        num_epochs=num_epochs,
        validation_fraction=validation_fraction,
        seed=seed_for(seed, *PAIRS),
    )

    def untrained() -> Rater:
        torch.manual_seed(seed_for(seed, "train_rater", "weights"))
        made = _network(network, lora, tokenizer, list(criteria), max(max_tokens, int(data.lengths.max())))
        dropout = seed_for(seed, "train_rater", "dropout") >> 32
        return Rater(made, criteria, Optimization(optimizer, schedule, warmup_fraction), dropout)

    module = untrained()
    fit(
        module,
        data,
        trainer,
        output,
        gradient_clip_norm=gradient_clip_norm,
        checkpoint_every_steps=checkpoint_every_steps,
        name="rater",
        validate_every_steps=data.steps_per_epoch,
        best_by="validation/accuracy",
    )
    if not module.trainer.is_global_zero:
        return {}
    device, precision = module.trainer.strategy.root_device, str(module.trainer.precision)
    # a new module: the weights of the trained one may be sharded over processes
    module = untrained()
    load_best(output, module)
    made = merged(module.network)
    module.network = made
    scores_a, scores_b = ratings(module, data, device)
    held_out = data.held_out
    confident = data.confident_preference[held_out].double().numpy()
    found = report(
        scores_a,
        scores_b,
        data.judged_preference[held_out].double().numpy(),
        minimum_confidence,
        list(criteria),
        [data.domains[i] for i in held_out],
        data.lengths[held_out],
        None if data.preference_by_order is None else data.preference_by_order[held_out],
    )
    write_json(output / "validation.json", found)
    write_json(output / "criteria.json", list(criteria))
    made.save_pretrained(output)
    tokenizing.save(tokenizer, output)
    texts = [data.pairs[i] for i in held_out]
    rater_card.write_card(
        output,
        judgments=judgments,
        criteria=list(criteria),
        report=found,
        ratings=np.concatenate([scores_a, scores_b]),
        lengths=data.lengths[held_out].T.ravel(),
        wrong={
            name: rater_card.wrong_pairs(texts, scores_a[:, c], scores_b[:, c], confident[:, c])
            for c, name in enumerate(criteria)
        },
        base=getattr(network, "keywords", {}).get("name_or_path"),
        settings={
            "parameters": f"{made.num_parameters():,}",
            "trained weights": "all" if lora is None else "LoRA adapters and the head, merged",
            "pairs to train on": f"{len(data.training):,}",
            "pairs held out": f"{len(held_out):,}, of them {len(data.validation):,} confident",
            "confident from |2p − 1|": f"{minimum_confidence:g}",
            "label temperature": f"{label_temperature:g}",
            "longest text, tokens": f"{max_tokens:,}",
            "epochs, pairs per batch": f"{num_epochs:,}, {batch_size_pairs:,}",
            "precision": precision,
        },
    )
    clear(output)
    return {
        "training_pairs": len(data.training),
        "validation_pairs": len(data.validation),
        "parameters": made.num_parameters(),
        "accuracy": found["accuracy"],
    }


def _network(
    network: Callable[..., PreTrainedModel],
    lora: Callable[..., torch.nn.Module] | None,
    tokenizer: PreTrainedTokenizerBase,
    criteria: list[str],
    num_tokens: int,
) -> torch.nn.Module:
    with networks.making("the rater's network"):
        made = network(tokenizer=tokenizer, criteria=criteria)
        limit = networks.max_tokens(made)
        if limit is not None and num_tokens > limit:
            raise ValueError(
                f"it reads 1 to {limit} tokens, but a text may have {num_tokens} (rater.max_tokens, or a judged text)"
            )
        check_padding(MaskedRater(made.eval()), made)
        made.train()
        return made if lora is None else lora(made)


@torch.inference_mode()
def ratings(module: Rater, data: Judgments, device: torch.device) -> tuple[np.ndarray, np.ndarray]:
    """Ratings of texts A and B of the held-out pairs, in the order of `data.held_out`: (pairs, criteria) each."""
    module.eval().to(device)
    ordered = data.by_length(data.held_out)
    parts = []
    for batch in tqdm(data.batches(data.held_out), desc="validate", unit="batch", mininterval=0.5):
        parts.append([scores.cpu() for scores in module.scores({k: v.to(device) for k, v in batch.items()})])
    module.cpu()
    back = np.argsort(ordered)[np.argsort(np.argsort(data.held_out))]
    a, b = (torch.cat(scores).double().numpy()[back] for scores in zip(*parts, strict=True))
    return a, b
