"""Rate every sequence of a corpus by every criterion of a rater."""

from pathlib import Path
from typing import Any

from qurating.corpus.token_reader import TokenReader
from qurating.models.rating_networks import load_rater, rating_network
from qurating.rating import shards
from qurating.rating.by_network import rate_corpus
from qurating.rating.engine import Engine
from qurating.runtime import hub
from qurating.runtime.devices import device_of
from qurating.runtime.errors import StageError
from qurating.runtime.shares import Share


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
    """Write a shard of ratings beside each training shard of the corpus, row for row; finished shards are skipped.

    Columns: `id`, `length`, `chunk_lengths`, and for each criterion `<c>_chunks` (the rating of each window) and
    `<c>_average` (their mean weighted by the windows' lengths). Windows hold at most `max_tokens` tokens and no
    special tokens (an end-of-text token is left out). Where the rater's tokenizer is not the corpus', texts are
    tokenised anew.

    Args:
        rater: folder of a trained rater.
        from_pretrained: a folder or a name of the Hugging Face Hub, instead.
        criteria: what the outputs of a rater stand for, in order, where it does not say so itself (`criteria.json`).
        max_tokens: of a window (paper: 512).
        tokens_per_batch: of a forward pass, padding included; None: 4,096 on a CPU, 32,768 on a GPU. The ratings do not
            depend on it.
        precision: 32-true, or bf16-true (bf16-mixed is the same).
        compilation: auto (if there is enough to rate to repay it), always, never.
        num_workers: processes that tokenise.
        shard, num_shards: only every `num_shards`-th shard of the corpus, from this one on; None: all.
        accelerator: auto, cpu or gpu.

    Returns:
        counts; None while shards of other tasks are missing.

    Raises:
        StageError: no rater, or two; one that cannot be loaded, or has another number of outputs than criteria; a
            rating is not a number; a GPU is asked for, and there is none.
    """
    share = None if shard is None or num_shards is None else Share(shard, num_shards)
    device = device_of(accelerator, share)
    if rater is not None and from_pretrained is not None:
        raise StageError(f"two raters are named, {rater} and rater.from_pretrained={from_pretrained}: leave out one")
    if rater is None and from_pretrained is None:
        raise StageError(
            "there is no rater: add the stage train_rater, or name one that is trained: "
            "rater.from_pretrained=<folder or name of the Hub>"
        )
    folder = rater or hub.model_folder(str(from_pretrained))
    trained = load_rater(folder, criteria, max_tokens)
    reader = TokenReader(corpus, trained.tokenizer)

    def engine() -> Engine:
        return Engine(
            rating_network(trained.network().to(device), max_tokens),  # tried on the device, as it will run
            device=device,
            precision=precision,
            compilation=compilation,
            max_tokens=max_tokens,
            tokens_per_batch=tokens_per_batch,
            pad_token_id=reader.pad_token_id,
        )

    return rate_corpus(
        output=output,
        corpus=corpus,
        reader=reader,
        engine=engine,
        network=shards.fingerprint_of(folder),
        criteria=trained.criteria,
        max_tokens=max_tokens,
        num_workers=num_workers,
        share=share,
        doing="rating",
    )
