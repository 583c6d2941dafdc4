"""Which sequences each step of a training sees: those of the order, on any number of devices, also after a resume."""

import functools
import json
import multiprocessing
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytorch_lightning as pl
import torch
from ports import free_port
from tokenizers import Tokenizer, models
from training_example import TRAINER, a_model

from qurating.artifacts.files import write_table
from qurating.datamodules.tokens import TokenBlocks
from qurating.stages.selection.order import order
from qurating.training.fit import fit

FORKS = multiprocessing.get_context("fork")
SEQUENCE_LENGTH, BATCH = 4, 4
NUM_SEQUENCES = 30  # the last of 8 steps is not full


@pytest.fixture(scope="module")
def ordered(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An order of sequences of one block each, whose tokens are the sequence's id, which has base 60."""
    corpus, subset, output = (tmp_path_factory.mktemp(name) for name in ("corpus", "subset", "order"))
    ids = np.random.default_rng(0).permutation(3600)[:NUM_SEQUENCES]
    tokens = [[int(i) // 60, int(i) % 60] * (SEQUENCE_LENGTH // 2) for i in ids]
    lengths = pa.array([SEQUENCE_LENGTH] * NUM_SEQUENCES, pa.int32())
    rows = {"id": pa.array(ids), "input_ids": pa.array(tokens, pa.list_(pa.int32())), "length": lengths}
    write_table(corpus / "train/00000.parquet", pa.table(rows))
    (corpus / "tokenizer").mkdir()
    words = {f"w{number}": number for number in range(60)}
    Tokenizer(models.WordLevel(words, unk_token="w0")).save(str(corpus / "tokenizer/tokenizer.json"))
    places = {"shard": np.zeros(NUM_SEQUENCES, np.int32), "row": np.arange(NUM_SEQUENCES, dtype=np.int32)}
    write_table(subset / "subset.parquet", pa.table({"id": rows["id"], "length": lengths, **places}))
    settings: dict[str, Any] = {"criterion": None, "column": None, "num_folds": 1, "temperature": 0}
    order(
        output=output,
        corpus=corpus,
        subset=subset,
        ratings=None,
        method="shuffle",
        descending=False,
        seed=3,
        **settings,
    )
    return output


def train(order: Path, output: Path, num_devices: int, rank: int, port: int, fails_at: int, log: Path) -> None:
    """One process of a training; writes which ids each of its steps sees."""
    torch.set_num_threads(1)
    os.environ |= {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": str(num_devices)}
    os.environ |= {"LOCAL_WORLD_SIZE": str(num_devices), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    os.environ |= {"TORCHELASTIC_RUN_ID": "test"}
    model = a_model()
    step = model.training_step

    def watched(batch: dict[str, torch.Tensor], batch_idx: int) -> torch.Tensor:
        if model.global_step == fails_at:
            os._exit(3)
        real = batch["labels"][:, 0] != -100
        ids = (60 * batch["input_ids"][:, 0] + batch["input_ids"][:, 1])[real].tolist()
        with open(log.with_suffix(f".{rank}.jsonl"), "a") as stream:
            stream.write(json.dumps({"step": model.global_step, "ids": ids}) + "\n")
        return step(batch, batch_idx)

    model.training_step = watched  # type: ignore[method-assign]
    trainer: functools.partial[pl.Trainer] = functools.partial(
        TRAINER, devices=num_devices, strategy="ddp" if num_devices > 1 else "auto"
    )
    data = TokenBlocks(order, SEQUENCE_LENGTH, BATCH, micro_batch_size=1, vocabulary_size=64)
    fit(model, data, trainer, output, gradient_clip_norm=1.0, checkpoint_every_steps=1, name="test")


def run(order: Path, output: Path, num_devices: int, fails_at: int = -1) -> dict[int, list[int]]:
    """Train by as many processes; the ids of each step, those of the first device first."""
    log = output / f"seen_from_{fails_at}_on_{num_devices}"
    output.mkdir(exist_ok=True)
    port = free_port()
    given = (order, output, num_devices)
    children = [FORKS.Process(target=train, args=(*given, rank, port, fails_at, log)) for rank in range(num_devices)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert {child.exitcode for child in children} == {0 if fails_at < 0 else 3}
    seen: dict[int, list[int]] = {}
    for rank in range(num_devices):
        for line in log.with_suffix(f".{rank}.jsonl").read_text().splitlines():
            entry = json.loads(line)
            seen.setdefault(entry["step"], []).extend(entry["ids"])
    return seen


@pytest.mark.parametrize(("before", "after"), [(1, 2), (2, 1), (2, 4)])
def test_a_resumed_training_goes_on_in_the_order_on_another_number_of_devices(
    ordered: Path, tmp_path: Path, before: int, after: int
) -> None:
    ids = pq.read_table(ordered / "order.parquet")["id"].to_pylist()
    expected = {step: ids[step * BATCH : (step + 1) * BATCH] for step in range(-(-NUM_SEQUENCES // BATCH))}
    first = run(ordered, tmp_path / "lm", before, fails_at=3)
    second = run(ordered, tmp_path / "lm", after)
    assert first == {step: expected[step] for step in range(3)}
    assert second == {step: expected[step] for step in range(3, len(expected))}
    shutil.rmtree(tmp_path / "lm")
