"""Measure the perplexity of every sequence of a corpus under a language model, for the perplexity baselines."""

import functools
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedTokenizerBase

from qurating.artifacts.files import sha256
from qurating.corpus.token_reader import TokenReader
from qurating.models.likelihood import WindowPerplexity, check_causal, check_output_layer
from qurating.models.networks import check_vocabulary, num_positions
from qurating.rating import shards
from qurating.rating.by_network import rate_with_network
from qurating.rating.by_text import rate_with_function
from qurating.rating.engine import Engine
from qurating.rating.kenlm import load, log_perplexities
from qurating.runtime import hub
from qurating.runtime.devices import device_of
from qurating.runtime.errors import StageError
from qurating.runtime.shares import share_or_all

NAME = "log_perplexity"


def measure_perplexity(
    *,
    output: Path,
    corpus: Path,
    language_model: Path | None,
    from_pretrained: str | None,
    kenlm: str | None,
    files: str | None,
    lower_case: bool,
    max_tokens: int | None,
    tokens_per_batch: int | None,
    precision: str,
    compilation: str,
    num_workers: int,
    shard: int | None,
    num_shards: int | None,
    accelerator: str,
) -> dict[str, Any] | None:
    """Write `log_perplexity_average` of each sequence, the mean of −ln p over its tokens in nats, as ratings.

    A sequence is read in windows, each after one begin-of-text token (or, without one, an end-of-text token). Windows
    are weighted by their tokens, so that all tokens count equally. Finished shards are skipped.

    Args:
        language_model: folder of a causal language model that was trained here.
        from_pretrained: a folder or a name of the Hugging Face Hub, instead.
        kenlm: an n-gram model of KenLM instead, `.arpa` or `.bin`: nats per word.
        files: the file of that model; another file makes another artifact.
        lower_case: KenLM reads texts in lower case.
        max_tokens: of a window; None: as many as the model reads, and at most 1,024.
        tokens_per_batch, precision, compilation, num_workers, shard, num_shards, accelerator: as for `rate`.

    Returns:
        counts; None while shards of other tasks are missing.

    Raises:
        StageError: no model, or several; a model that cannot be loaded or gives no likelihoods; windows longer than it
            reads; a GPU is requested, and torch finds none.
    """
    share = share_or_all(shard, num_shards)
    if kenlm is not None:
        file = Path(kenlm).expanduser().resolve()
        load(file)  # so that an unreadable model fails at once
        return rate_with_function(
            output=output,
            corpus=corpus,
            function=functools.partial(log_perplexities, file=file, lower_case=lower_case),
            fingerprint=f"{sha256(file)}, lower case: {lower_case}",
            name=NAME,
            num_workers=num_workers,
            share=share,
            description="perplexity",
        )
    device = device_of(accelerator, share)
    folder = hub.trained_or_pretrained(
        language_model,
        from_pretrained,
        kind="language model",
        stage="pretrain_proxy",
        setting="perplexity.from_pretrained",
        otherwise=", or perplexity.kenlm=<file>",
    )
    config, tokenizer = _loaded(folder)
    begin = tokenizer.eos_token_id if tokenizer.bos_token_id is None else tokenizer.bos_token_id
    if begin is None:
        raise StageError(f"{folder}: its tokenizer has no begin-of-text or end-of-text token to put before a window")
    limit = num_positions(config)
    window = min(1024, limit or 1024) if max_tokens is None else max_tokens
    if window < 1 or (limit is not None and window > limit):
        raise StageError(f"windows of {window} tokens: the model in {folder} reads 1 to {limit or 'any number of'}")

    def network() -> WindowPerplexity:
        try:
            model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, trust_remote_code=False)
            model = model.to(device).eval()
            check_output_layer(model)
            check_causal(model)
        except Exception as error:  # three libraries raise many types for invalid files
            raise StageError(f"{folder} gives no perplexity: {type(error).__name__}: {error}") from error
        check_vocabulary(model, tokenizer, folder)
        return WindowPerplexity(model, int(begin))

    return rate_with_network(
        output=output,
        corpus=corpus,
        reader=TokenReader(corpus, tokenizer),
        network=network,
        fingerprint=f"{shards.fingerprint_of(folder)}, windows of {window}",
        engine=functools.partial(
            Engine, device=device, precision=precision, compilation=compilation, tokens_per_batch=tokens_per_batch
        ),
        criteria=[NAME],
        max_tokens=window,
        num_workers=num_workers,
        share=share,
        description="perplexity",
    )


def _loaded(folder: Path) -> tuple[Any, PreTrainedTokenizerBase]:
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        return config, AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # as above
        raise StageError(f"{folder} cannot be loaded as a language model: {type(error).__name__}: {error}") from error
