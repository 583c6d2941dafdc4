"""Checkpoints to resume a training from as if it had never stopped, and the best weights so far."""

import contextlib
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.strategies import ModelParallelStrategy

from qurating.artifacts.files import read_json, replacing, write_json
from qurating.runtime import internals
from qurating.runtime.errors import StageError


class Checkpoints(Callback):
    """Keeps `step=<n>.ckpt`, the last state of the training, and `best.pt`, the weights that validated best.

    The state of a step with a validation is written after the validation, so that no validation is lost between the
    two. All processes of a distributed training call this; the first one writes.

    Args:
        folder: of this training alone.
        every_steps: optimizer steps between two states, at most.
        validate_every_steps: optimizer steps between two validations; None without validation.
        best_by: the metric whose highest value is best (on a tie, the first one).
    """

    def __init__(self, folder: Path, every_steps: int, validate_every_steps: int | None, best_by: str | None) -> None:
        self.folder = folder
        self.every_steps = every_steps
        self.validate_every_steps = validate_every_steps
        self.best_by = best_by
        self.saved_step = latest(folder)[1]

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        step = trainer.global_step
        validates = bool(self.validate_every_steps) and step % int(self.validate_every_steps or 1) == 0
        if step > self.saved_step and not validates and step - self.saved_step >= self.every_steps:
            self._save(trainer)

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        if self.best_by:
            value = float(trainer.callback_metrics[self.best_by])
            record = self.folder / "best.json"
            best = read_json(record)["value"] if record.is_file() else float("-inf")
            # the first process decides for all, because all of them must gather sharded weights
            if trainer.strategy.broadcast(value > best):
                weights = trainer.strategy.lightning_module_state_dict()
                if trainer.is_global_zero:
                    self.folder.mkdir(exist_ok=True)
                    with self._explained(trainer), replacing(self.folder / "best.pt") as temporary:
                        save(weights, temporary)
                    write_json(record, {"value": value, "step": trainer.global_step})
        self._save(trainer)

    def on_save_checkpoint(
        self, trainer: pl.Trainer, pl_module: pl.LightningModule, checkpoint: dict[str, Any]
    ) -> None:
        checkpoint["passes_per_step"] = trainer.accumulate_grad_batches
        if not isinstance(trainer.strategy, ModelParallelStrategy):
            checkpoint["optimizer_states"] = [
                internals.number_as_in_module(state, optimizer, pl_module)
                for state, optimizer in zip(checkpoint["optimizer_states"], trainer.optimizers, strict=True)
            ]

    def on_load_checkpoint(self, trainer: pl.Trainer, _: Any, checkpoint: dict[str, Any]) -> None:
        internals.recount_passes(checkpoint, checkpoint["passes_per_step"], trainer.accumulate_grad_batches)

    def _save(self, trainer: pl.Trainer) -> None:
        step = trainer.global_step
        target = self.folder / f"step={step}.ckpt"
        temporary = target.with_suffix(".tmp")
        with self._explained(trainer):
            try:
                trainer.save_checkpoint(temporary)
                if trainer.is_global_zero:
                    os.replace(temporary, target)
            except OSError:
                temporary.unlink(missing_ok=True)  # it would take the room that is missing
                raise
        self.saved_step = step
        if trainer.is_global_zero:
            for file in self.folder.glob("step=*.ckpt"):
                if file != target:
                    file.unlink()

    @contextlib.contextmanager
    def _explained(self, trainer: pl.Trainer) -> Iterator[None]:
        """Turn an error while a file is written, such as a full disk, into a StageError."""
        try:
            yield
        except OSError as error:
            kept = f"the checkpoint of step {self.saved_step:,} is kept" if self.saved_step else "there is none yet"
            raise StageError(
                f"no checkpoint can be written after step {trainer.global_step:,} to {self.folder} ({error}); {kept}. "
                "Make room for two checkpoints, since the last one stays until the next one is whole, and run the same "
                "command again: it continues from there"
            ) from error


class OneFile(TorchCheckpointIO):
    """Writes checkpoints straight into their file. Lightning would write them into memory, then to the folder of
    temporary files, and then move them."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: str | Path, storage_options: Any = None) -> None:
        save(checkpoint, Path(path))


def save(content: Any, path: Path) -> None:
    """Write with `torch.save`; its folder is made. Raises OSError, where torch alone would raise a RuntimeError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "wb") as stream:
        torch.save(content, stream)


def load_best(output: Path, module: pl.LightningModule) -> None:
    """Give a module the best weights of a training in `output`, on the CPU."""
    module.load_state_dict(torch.load(output / "checkpoints/best.pt", map_location="cpu", weights_only=True))


def latest(folder: Path) -> tuple[Path | None, int]:
    """The checkpoint with the most steps, and its number of steps; (None, 0) without a checkpoint."""
    steps = {file: int(found[1]) for file in folder.glob("*.ckpt") if (found := re.fullmatch(r"step=(\d+)", file.stem))}
    return max(steps.items(), key=lambda item: item[1], default=(None, 0))
