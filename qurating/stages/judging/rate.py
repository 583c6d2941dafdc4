"""Rate every sequence of a corpus by every criterion of a rater."""

import functools
from pathlib import Path
from typing import Any

from qurating.corpus.token_reader import TokenReader
from qurating.models.rating_networks import load_rater, rating_network
from qurating.rating import shards
from qurating.rating.by_network import rate_with_network
from qurating.rating.engine import Engine
from qurating.runtime import hub
from qurating.runtime.devices import device_of
from qurating.runtime.shares import share_or_all


def rate(
    *,
    output: Path,
    corpus: Path,
    rater: Path | None,
    from_pretrained: str | None,
    criteria: list[str],
    max_tokens: int,
    tokens_per_batch: int | None,
    precision: str,
    compilation: str,
    num_workers: int,
    shard: int | None,
    num_shards: int | None,
    accelerator: str,
) -> dict[str, Any] | None:
    """Write one shard of ratings per training shard of the corpus, row for row; finished shards are skipped.

    Columns: `id`, `length`, `chunk_lengths`, and for each criterion `<c>_chunks` (the rating of each window) and
    `<c>_average` (their mean weighted by the lengths of the windows). Windows have at most `max_tokens` tokens and
    no special tokens (an end-of-text token is left out). If the tokenizers of rater and corpus differ, texts are
    tokenised again.

    Args:
        rater: folder of a trained rater.
        from_pretrained: a folder or a name on the Hugging Face Hub, instead of `rater`.
        criteria: the criteria of the outputs in order, for a rater without `criteria.json`.
        max_tokens: maximum of a window (paper: 512).
        tokens_per_batch: maximum of a forward pass, padding included; None: 4,096 on a CPU, 32,768 on a GPU. The
            ratings do not depend on it.
        precision: 32-true, or bf16-true (bf16-mixed is the same).
        compilation: auto (if the corpus is large enough to repay it), always, never.
        num_workers: number of tokenising processes.
        shard, num_shards: rate only every `num_shards`-th shard of the corpus, starting at `shard`; None: all.
        accelerator: auto, cpu or gpu.

    Returns:
        counts; None while shards of other tasks are missing.

    Raises:
        StageError: no rater, or two; a rater that cannot be loaded, or whose number of outputs is not that of the
            criteria; a rating that is not a number; a GPU is requested, but none is available.
    """
    share = share_or_all(shard, num_shards)
    device = device_of(accelerator, share)
    folder = hub.trained_or_pretrained(
        rater, from_pretrained, kind="rater", stage="train_rater", setting="rater.from_pretrained"
    )
    trained = load_rater(folder, criteria, max_tokens)
    return rate_with_network(
        output=output,
        corpus=corpus,
        reader=TokenReader(corpus, trained.tokenizer),
        # tested on the device, as it will run
        network=lambda: rating_network(trained.network().to(device), max_tokens),
        fingerprint=shards.fingerprint_of(folder),
        engine=functools.partial(
            Engine, device=device, precision=precision, compilation=compilation, tokens_per_batch=tokens_per_batch
        ),
        criteria=trained.criteria,
        max_tokens=max_tokens,
        num_workers=num_workers,
        share=share,
        description="rating",
    )
