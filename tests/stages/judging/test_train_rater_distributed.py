"""The rater trained by two processes, with sharded (FSDP2) or replicated weights, compared with one process."""

import csv
import functools
import os
from pathlib import Path
from typing import Any

import pytest
import pytorch_lightning as pl
import torch
from hydra.utils import instantiate
from omegaconf import OmegaConf
from rater_fixtures import judged_pairs, network, train
from repository import ROOT
from safetensors.torch import load_file
from two_processes import run_in_two

from qurating.models.rater import Rater

FSDP = str(ROOT / "conf/trainer/fsdp.yaml")


def trainer(strategy: str | None) -> functools.partial[pl.Trainer]:
    """On CPUs: one process, or two with a strategy; `fsdp` is that of conf/trainer."""
    given: Any = instantiate(OmegaConf.load(FSDP).strategy) if strategy == "fsdp" else strategy or "auto"
    return functools.partial(
        pl.Trainer,
        accelerator="cpu",
        devices=2 if strategy else 1,
        strategy=given,
        enable_model_summary=False,
        log_every_n_steps=1,
    )


def one_of_two(rank: int, inputs: tuple[Path, Path], output: Path, strategy: str, fails_at: int) -> None:
    """One process, which exits at pass `fails_at`, if not negative."""
    step = Rater.training_step

    def fails(self: Rater, batch: Any, batch_idx: int) -> Any:
        if batch_idx == fails_at:
            os._exit(3)
        return step(self, batch, batch_idx)

    Rater.training_step = fails  # type: ignore[method-assign]
    counts = train(*inputs, output, trainer=trainer(strategy), network=network(0.0), num_epochs=2)
    assert bool(counts) == (rank == 0)


def two_processes(inputs: tuple[Path, Path], output: Path, strategy: str, fails_at: int = -1) -> None:
    output.mkdir(exist_ok=True)
    exit_codes = run_in_two(one_of_two, inputs, output, strategy, fails_at)
    assert exit_codes == ([0, 0] if fails_at < 0 else [3, 3])


def weights(folder: Path) -> torch.Tensor:
    return torch.cat([weight.flatten() for _, weight in sorted(load_file(folder / "model.safetensors").items())])


def losses(folder: Path) -> list[float]:
    """Of each step."""
    with open(folder / "metrics.csv", newline="", encoding="utf-8") as stream:
        found = [float(row["train/loss"]) for row in csv.DictReader(stream) if row["train/loss"]]
    assert len(found) == 12
    return found


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return judged_pairs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def alone(inputs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory) -> Path:
    output = tmp_path_factory.mktemp("alone")
    train(*inputs, output, trainer=trainer(None), network=network(0.0), num_epochs=2)
    return output


@pytest.mark.parametrize(("strategy", "fails_at"), [("ddp", -1), ("fsdp", 7)])
def test_two_processes_train_the_rater_that_one_does(
    inputs: tuple[Path, Path], alone: Path, tmp_path: Path, strategy: str, fails_at: int
) -> None:
    if fails_at >= 0:
        two_processes(inputs, tmp_path / "two", strategy, fails_at)
        assert list((tmp_path / "two/checkpoints").glob("step=*.ckpt"))
    two_processes(inputs, tmp_path / "two", strategy)
    difference = (weights(alone) - weights(tmp_path / "two")).abs()
    assert difference.mean() < 1e-5
    assert difference.max() < 2e-3  # Adam turns the rounding of a gradient near zero into a step
    assert losses(tmp_path / "two") == pytest.approx(losses(alone), rel=1e-3)
    assert (tmp_path / "two/README.md").is_file()
