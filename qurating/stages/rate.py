"""Rate every sequence of a corpus by every criterion of a rater."""

from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from transformers import AutoModelForSequenceClassification, AutoTokenizer

from qurating.artifacts import StageError, read_json
from qurating.rating import TokenReader, device_of, rate_corpus


def rate(
    *, output: Path, corpus: Path, rater: Path, max_tokens: int, tokens_per_batch: int, accelerator: str
) -> dict[str, Any]:
    """Write a shard of ratings beside each training shard of the corpus, row for row; finished shards are skipped.

    Columns: `id`, `length`, `chunk_lengths`, and for each criterion `<c>_chunks` (the rating of each window) and
    `<c>_average` (their mean weighted by the windows' lengths). Windows hold at most `max_tokens` tokens and no
    special tokens (an end-of-text token is left out).

    Args:
        max_tokens: of a window (paper: 512).
        tokens_per_batch: of a forward pass, padding included; the ratings do not depend on it.
        accelerator: auto, cpu or gpu.

    Raises:
        StageError: the rater was trained with another tokenizer; a rating is not a number; or a GPU is asked for, and
            there is none.
    """
    device = device_of(accelerator)
    reader = TokenReader(corpus, AutoTokenizer.from_pretrained(rater))
    if not reader.is_own:
        raise StageError(f"{rater} was trained with another tokenizer than {corpus}'s: its ratings would mean nothing")
    model = AutoModelForSequenceClassification.from_pretrained(rater, dtype=torch.float32).to(device).eval()

    def network(input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        return model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits

    return rate_corpus(
        output=output,
        corpus=corpus,
        reader=reader,
        network=network,
        criteria=read_json(rater / "criteria.json"),
        max_tokens=max_tokens,
        tokens_per_batch=tokens_per_batch,
        device=device,
        doing="rating",
    )
