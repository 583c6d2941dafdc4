"""Checkpoints of a training."""

from pathlib import Path

from qurating.training.checkpoints import latest


def test_the_latest_checkpoint_is_the_one_with_most_steps(tmp_path: Path) -> None:
    assert latest(tmp_path) == (None, 0)
    for name in ("step=5.ckpt", "step=20.ckpt", "best.ckpt"):
        (tmp_path / name).touch()
    assert latest(tmp_path) == (tmp_path / "step=20.ckpt", 20)
