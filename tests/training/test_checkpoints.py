"""Checkpoints of a training."""

import os
from pathlib import Path

import pytest
import torch
from rater_fixtures import judged_pairs, network
from rater_fixtures import train as train_rater
from training_example import an_order, rows, train, weights

from qurating.runtime.errors import StageError
from qurating.training.checkpoints import latest

FULL = Path("/dev/full")  # a write to it fails as on a full disk
needs_a_full_disk = pytest.mark.skipif(not FULL.exists(), reason="this system has no /dev/full")


def test_the_latest_checkpoint_is_the_one_with_most_steps(tmp_path: Path) -> None:
    assert latest(tmp_path) == (None, 0)
    for name in ("step=5.ckpt", "step=20.ckpt", "best.ckpt"):
        (tmp_path / name).touch()
    assert latest(tmp_path) == (tmp_path / "step=20.ckpt", 20)


@needs_a_full_disk
def test_a_full_disk_leaves_the_checkpoint_before(tmp_path: Path) -> None:
    order = an_order(tmp_path / "order")
    whole = train(order, tmp_path / "whole")
    folder = tmp_path / "cut/checkpoints"
    folder.mkdir(parents=True)
    (folder / "step=2.tmp").symlink_to(FULL)
    said = r"after step 2 to .*No space left on device.*; the checkpoint of step 1 is kept\. Make room"
    with pytest.raises(StageError, match=said):
        train(order, tmp_path / "cut")
    assert [file.name for file in folder.iterdir()] == ["step=1.ckpt"]
    resumed = train(order, tmp_path / "cut")
    assert torch.equal(weights(resumed), weights(whole))
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")


@needs_a_full_disk
def test_a_disk_that_is_full_at_once_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "lm/checkpoints"
    folder.mkdir(parents=True)
    (folder / "step=1.tmp").symlink_to(FULL)
    with pytest.raises(StageError, match=r"after step 1 .*; there is none yet\."):
        train(an_order(tmp_path / "order"), tmp_path / "lm")
    assert list(folder.iterdir()) == []


@needs_a_full_disk
def test_a_full_disk_leaves_the_best_weights_before(tmp_path: Path) -> None:
    folder = tmp_path / "rater/checkpoints"
    folder.mkdir(parents=True)
    (folder / f".best.pt.{os.getpid()}.tmp").symlink_to(FULL)
    with pytest.raises(StageError, match=r"no checkpoint can be written after step .*No space left on device"):
        train_rater(*judged_pairs(tmp_path), tmp_path / "rater", network=network(0.0), num_epochs=2)
    assert not list(folder.glob("*best*"))
