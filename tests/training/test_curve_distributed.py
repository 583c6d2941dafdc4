"""The held-out loss measured by two processes, compared with one."""

import functools
import json
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from curve_example import measured
from training_example import TRAINER, a_model, an_order
from two_processes import run_in_two

from qurating.datamodules.tokens import TokenBlocks
from qurating.training.fit import fit


def train(order: Path, output: Path, trainer: functools.partial[pl.Trainer]) -> list[dict[str, Any]]:
    curve = measured(batch_size=1)
    data = TokenBlocks(order, sequence_length=8, batch_size_sequences=4, micro_batch_size=2, vocabulary_size=64)
    fit(
        a_model(),
        data,
        trainer,
        output,
        gradient_clip_norm=1.0,
        checkpoint_every_steps=1,
        name="test",
        callbacks=[curve],
    )
    found: list[dict[str, Any]] = curve.table().to_pylist()
    return found


def one_of_two(rank: int, order: Path, output: Path) -> None:
    rows = train(order, output, functools.partial(TRAINER, devices=2, strategy="ddp"))
    (output / f"rows_{rank}.json").write_text(json.dumps(rows), encoding="utf-8")


def test_two_processes_measure_what_one_does(tmp_path: Path) -> None:
    order = an_order(tmp_path / "order")
    (tmp_path / "two").mkdir()
    assert run_in_two(one_of_two, order, tmp_path / "two") == [0, 0]
    first, second = (json.loads((tmp_path / f"two/rows_{rank}.json").read_text()) for rank in range(2))
    alone = train(order, tmp_path / "alone", TRAINER)
    assert first == second
    for two, one in zip(first, alone, strict=True):
        # the weights differ by the rounding of their gradients
        assert abs(two.pop("nll_nats") - one.pop("nll_nats")) < 1e-4 * one["num_tokens"]
        assert two == one
