"""A language model trained by two processes, its weights replicated or sharded, compared with one process."""

import functools
import json
import os
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from curve_example import measured
from hydra.utils import instantiate
from omegaconf import OmegaConf
from repository import ROOT
from safetensors.torch import load_file
from torch import Tensor
from training_example import TRAINER, Watched, a_model, an_order, rows
from two_processes import run_in_two

from qurating.datamodules.tokens import TokenBlocks
from qurating.models import networks
from qurating.models.language_model import LanguageModel
from qurating.training.fit import fit

FSDP = str(ROOT / "conf/trainer/fsdp.yaml")


class Dying(Watched):
    """Its process ends at a forward pass, without a word."""

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        if batch_idx == self.fail_at:
            os._exit(3)
        return super().training_step(batch, batch_idx)


def trainer(strategy: str) -> functools.partial[pl.Trainer]:
    """One process, or two with a strategy; `fsdp` is that of conf/trainer."""
    if strategy == "one":
        return TRAINER
    given: Any = instantiate(OmegaConf.load(FSDP).strategy) if strategy == "fsdp" else strategy
    return functools.partial(TRAINER, devices=2, strategy=given)


def train(
    rank: int,
    order: Path,
    output: Path,
    strategy: str,
    fail_at: int | None = None,
    gradient_checkpointing: bool = False,
    **network: Any,
) -> None:
    """Train with a clipping norm that every step exceeds; the first process writes the network to `output`."""
    model = a_model(num_hidden_layers=2, **network)  # so that the norms lie between the matrices
    if gradient_checkpointing:
        networks.recompute_layers(model.network)
    if strategy != "one":
        model.__class__ = Dying
    model.fail_at = fail_at
    curve = measured(batch_size=4)  # one batch: the second process has none of its own
    data = TokenBlocks(order, sequence_length=8, batch_size_sequences=4, micro_batch_size=1, vocabulary_size=64)
    fit(
        model,
        data,
        trainer(strategy),
        output,
        gradient_clip_norm=0.1,
        checkpoint_every_steps=1,
        name="test",
        callbacks=[curve],
    )
    seen = torch.cat(model.seen).tolist()
    (output / f"seen_{rank}.json").write_text(json.dumps(seen), encoding="utf-8")
    network_of_all = model.whole_network()
    if rank == 0:
        network_of_all.save_pretrained(output)
        curve.write(output / "curve.parquet")
        (output / "curve.json").write_text(json.dumps(curve.table().to_pylist()), encoding="utf-8")


def run(order: Path, output: Path, strategy: str, fail_at: int | None = None, **network: Any) -> Path:
    """Train, or begin to train, in this process or in two."""
    output.mkdir(exist_ok=True)
    start: Any = functools.partial(train, order=order, output=output, strategy=strategy, fail_at=fail_at, **network)
    if strategy != "one":
        assert run_in_two(start) == ([0, 0] if fail_at is None else [3, 3])
    elif fail_at is None:
        start(0)
    else:
        with pytest.raises(RuntimeError, match="pulled the plug"):
            start(0)
    return output


def compare(found: Path, expected: Path) -> None:
    """Equal to the rounding of gradients, which Adam turns into steps where they are near zero."""
    ours, theirs = (load_file(folder / "model.safetensors") for folder in (found, expected))
    assert ours.keys() == theirs.keys()
    for name, weight in theirs.items():
        assert (ours[name] - weight).abs().max() < 1e-4, name
    assert (found / "config.json").read_bytes() == (expected / "config.json").read_bytes()
    losses = [[float(row["train/loss"]) for row in rows(folder)] for folder in (found, expected)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    first, second = (json.loads((folder / "curve.json").read_text()) for folder in (found, expected))
    for one, other in zip(first, second, strict=True):
        assert one.pop("nll_nats") == pytest.approx(other.pop("nll_nats"), rel=1e-4, abs=1e-4)
        assert one == other


@pytest.fixture(scope="module")
def order(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return an_order(tmp_path_factory.mktemp("order") / "order")


@pytest.fixture(scope="module")
def alone(order: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return run(order, tmp_path_factory.mktemp("alone"), "one", tie_word_embeddings=True)


@pytest.mark.parametrize("strategy", ["ddp", "fsdp"])
def test_two_processes_train_the_model_that_one_does(order: Path, alone: Path, tmp_path: Path, strategy: str) -> None:
    two = run(order, tmp_path / "two", strategy, tie_word_embeddings=True)
    compare(two, alone)
    one, first, second = (
        json.loads(f.read_text()) for f in (alone / "seen_0.json", two / "seen_0.json", two / "seen_1.json")
    )
    # each process has one half of every step: four blocks a step, two of each process
    assert [first[0:2] + second[0:2], first[2:4] + second[2:4]] == [one[0:4], one[4:8]]


def test_sharded_weights_and_a_loss_in_parts(order: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(LanguageModel, "_has_plain_loss", False)
        whole = run(order, tmp_path / "whole", "one", tie_word_embeddings=False)
    two = run(order, tmp_path / "two", "fsdp", gradient_checkpointing=True, tie_word_embeddings=False)
    compare(two, whole)
    tied = run(order, tmp_path / "tied", "fsdp", tie_word_embeddings=True)
    assert "lm_head.weight" not in load_file(tied / "model.safetensors")


@pytest.mark.parametrize(("before", "after"), [("fsdp", "one"), ("one", "fsdp"), ("ddp", "fsdp")])
def test_a_training_resumes_on_another_number_of_devices(
    order: Path, alone: Path, tmp_path: Path, before: str, after: str
) -> None:
    passes = 4 if before == "one" else 2  # of a step on a device
    run(order, tmp_path / "cut", before, fail_at=2 * passes, tie_word_embeddings=True)
    (checkpoint,) = (tmp_path / "cut/checkpoints").glob("*.ckpt")
    assert checkpoint.stem == "step=2"
    resumed = run(order, tmp_path / "cut", after, tie_word_embeddings=True)
    compare(resumed, alone)
    one = json.loads((alone / "seen_0.json").read_text())
    assert json.loads((resumed / "seen_0.json").read_text()) == one[8 : 8 + (4 if after == "one" else 2)]
