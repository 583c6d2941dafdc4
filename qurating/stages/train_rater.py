"""Train a rater on judgments, and write it as a Hugging Face folder."""

import functools
import shutil
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from torch import Tensor
from tqdm import tqdm
from transformers import AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from qurating import bradley_terry
from qurating.artifacts import StageError, seed_for, write_json
from qurating.datamodules.judgments import Judgments
from qurating.models.rater import Rater
from qurating.training import fit


def train_rater(
    *,
    output: Path,
    corpus: Path,
    judgments: Path,
    criteria: list[str],
    network: Callable[..., PreTrainedModel],
    optimizer: Callable[..., Any],
    schedule: Callable[..., Any],
    trainer: functools.partial[pl.Trainer],
    warmup_fraction: float,
    gradient_clip_norm: float | None,
    batch_size_pairs: int,
    micro_batch_size: int,
    num_epochs: int,
    max_tokens: int,
    minimum_confidence: float,
    validation_fraction: float,
    checkpoint_every_steps: int,
    seed: int,
) -> dict[str, Any]:
    """Train by the Bradley-Terry loss; keep the weights with the best validation accuracy.

    Writes the network and its tokenizer, `criteria.json` (the outputs' names in order), `validation.json` (accuracy by
    criterion, by domain and by confidence, with the number of pairs behind each) and `metrics.csv`.

    Args:
        corpus: whose tokenizer is used.
        criteria: outputs of the rater.
        network: makes the network, see `qurating.models.networks`.
        max_tokens: of a judged text.
        minimum_confidence: pairs train where |2p − 1| is at least this.
    """
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    data = Judgments(
        judgments,
        tokenizer,
        list(criteria),
        minimum_confidence,
        max_tokens,
        batch_size_pairs,
        micro_batch_size,
        num_epochs,
        validation_fraction,
        seed_for(seed, "train_rater", "pairs"),
    )
    torch.manual_seed(seed_for(seed, "train_rater", "weights"))
    made = _network(network, tokenizer, list(criteria))
    module = Rater(made, criteria, optimizer, schedule, warmup_fraction, seed_for(seed, "train_rater", "dropout") >> 32)
    best = fit(
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
    assert best is not None
    module.load_state_dict(torch.load(best, map_location="cpu", weights_only=True))
    report = validation_report(module, data, list(criteria))
    write_json(output / "validation.json", report)
    write_json(output / "criteria.json", list(criteria))
    made.save_pretrained(output)
    tokenizer.save_pretrained(output)
    shutil.rmtree(output / "checkpoints", ignore_errors=True)
    shutil.rmtree(output / "metrics")
    return {
        "training_pairs": len(data.training),
        "validation_pairs": len(data.validation),
        "parameters": made.num_parameters(),
        "accuracy": report["accuracy"],
    }


def _network(
    network: Callable[..., PreTrainedModel], tokenizer: PreTrainedTokenizerBase, criteria: list[str]
) -> PreTrainedModel:
    try:
        return network(tokenizer=tokenizer, criteria=criteria)
    except ValueError as error:
        raise StageError(str(error)) from error


@torch.inference_mode()
def validation_report(module: Rater, data: Judgments, criteria: list[str]) -> dict[str, Any]:
    """Accuracy on the validation pairs, each with the number of pairs: by criterion (confident pairs), by confidence
    (every pair that was held out, confident or not) and by domain (confident pairs within one domain)."""
    # Lightning has moved the module back to the CPU
    device = module.trainer.strategy.root_device
    module.eval().to(device)
    pairs = []
    for batch in tqdm(data.batches(data.held_out), desc="validate", unit="batch", mininterval=0.5):
        pairs.append([scores.cpu() for scores in module.scores({k: v.to(device) for k, v in batch.items()})])
    a, b = (torch.cat(scores) for scores in zip(*pairs, strict=True))
    rows = torch.from_numpy(data.held_out)
    confident = bradley_terry.agreement(a, b, data.preference[rows])
    judged = bradley_terry.agreement(a, b, data.judged[rows])
    margin = (2 * data.judged[rows] - 1).abs()
    by_confidence = {
        f"{low:.2f}-{low + 0.25:.2f}": _mean(judged[(margin >= low) & (margin < low + (0.25 if low < 0.75 else 1))])
        for low in (0.0, 0.25, 0.5, 0.75)
    }
    by_domain: dict[str, list[Tensor]] = defaultdict(list)
    for row, index in enumerate(data.held_out):
        first, second = data.domains[index]
        if first == second:
            by_domain[first].append(confident[row])
    return {
        "accuracy": {name: _mean(confident[:, c])["accuracy"] for c, name in enumerate(criteria)},
        "num_pairs": {name: _mean(confident[:, c])["num_pairs"] for c, name in enumerate(criteria)},
        "by_confidence": by_confidence,
        "by_domain": {name: _mean(torch.cat(values)) for name, values in sorted(by_domain.items())},
    }


def _mean(agreements: Tensor) -> dict[str, Any]:
    there = agreements[~torch.isnan(agreements)]
    return {"accuracy": there.mean().item() if len(there) else None, "num_pairs": len(there)}
