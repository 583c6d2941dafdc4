"""Train a small language model on a uniform sample of the corpus, so that its gradients mean something."""

import functools
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytorch_lightning as pl
from transformers import PreTrainedModel

from qurating.artifacts.files import row_files
from qurating.artifacts.seeds import seed_for
from qurating.models.optimization import Optimization
from qurating.runtime.errors import StageError
from qurating.runtime.processes import rank
from qurating.selection import ordering, rules
from qurating.selection.index import select_rows
from qurating.selection.token_stream import write_in_order
from qurating.training.fit import clear, fit
from qurating.training.language_model import prepare, save
from qurating.training.throughput import Throughput


def pretrain_proxy(
    *,
    output: Path,
    corpus: Path,
    num_tokens: int | None,
    network: Callable[..., PreTrainedModel],
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
    warmup_steps: int | None = None,
) -> dict[str, Any]:
    """Draw `num_tokens` tokens uniformly, each domain in proportion, shuffle them, and train on them once.

    Writes the network, its tokenizer and `metrics.csv`. A run with a released proxy model skips this stage. In a
    distributed run every process calls this: the first writes the tokens, the others wait for them.

    Args:
        num_tokens: in tokens of the corpus; None is refused.
        network, ...: see `train_lm`.

    Raises:
        StageError: `num_tokens` is None, not a whole number above 0, or more than the corpus has.
    """
    tokens = _num_tokens(corpus, num_tokens)
    own_seed = seed_for(seed, "pretrain_proxy")  # so that a uniform selection of the same size draws another subset
    drawn = output / "drawn"
    if rank() == 0 and not drawn.exists():
        half = output / "half_drawn"  # left by a killed attempt
        shutil.rmtree(half, ignore_errors=True)
        _draw(half, corpus, tokens, own_seed)
        os.rename(half, drawn)
    while not drawn.exists():
        time.sleep(0.2)
    module, data = prepare(
        corpus=corpus,
        order=drawn / "order",
        network=network,
        optimization=Optimization(optimizer, schedule, warmup_fraction, warmup_steps),
        sequence_length=sequence_length,
        batch_size_sequences=batch_size_sequences,
        micro_batch_size=micro_batch_size,
        seed=own_seed,
    )
    throughput = Throughput(data)
    fit(
        module,
        data,
        trainer,
        output,
        gradient_clip_norm=gradient_clip_norm,
        checkpoint_every_steps=checkpoint_every_steps,
        name="lm",
        callbacks=[throughput],
    )
    counts = save(module, data, throughput, corpus, output)
    if rank() == 0:
        # a kill must not leave a part of the folder under its final name
        os.rename(drawn, output / "half_drawn")
        shutil.rmtree(output / "half_drawn")
        clear(output)
    return counts


def _draw(folder: Path, corpus: Path, num_tokens: int, seed: int) -> None:
    """Write to `order` the tokens of sequences drawn uniformly, each domain in proportion, and shuffled."""
    (folder / "order").mkdir(parents=True)
    select_rows(
        folder / "subset.parquet",
        corpus,
        None,
        functools.partial(rules.select, num_tokens=num_tokens, temperature=float("inf")),
        criteria=[],
        by_domain=True,
        domain_column="domain",
        seed=seed_for(seed, "select", "noise"),
    )
    index = pq.read_table(folder / "subset.parquet", columns=["id", "shard", "row", "length"])
    shuffled = ordering.shuffle(index["id"].to_numpy(), seed_for(seed, "order", "shuffle"))
    write_in_order(folder / "order", corpus, index, shuffled)


def _num_tokens(corpus: Path, num_tokens: int | None) -> int:
    """The checked number of tokens; every process checks, so that none waits for one that failed."""
    if num_tokens is None:
        raise StageError(
            "annotation.pretrain_tokens is not set: set it, or name a released proxy model, which needs no training "
            "(annotation.model)"
        )
    lengths = (pq.read_table(file, columns=["length"])["length"] for file in row_files(corpus / "train"))
    available = sum(pc.sum(column).as_py() or 0 for column in lengths)
    if num_tokens != int(num_tokens) or not 0 < num_tokens <= available:
        raise StageError(
            f"annotation.pretrain_tokens={num_tokens}: it must be a whole number from 1 to the {available:,} tokens of "
            f"{corpus.name}"
        )
    return int(num_tokens)
