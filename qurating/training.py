"""What both trainings share: steps, checkpoints that resume, metrics that survive an interruption."""

import csv
import logging
import os
import re
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, Protocol

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, ModelCheckpoint, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.plugins.environments import SLURMEnvironment

from qurating import tracking
from qurating.artifacts import StageError


class _Bar(TQDMProgressBar):
    """Lightning's progress bar, for a training that is one stream of steps."""

    def __init__(self, name: str) -> None:
        super().__init__(refresh_rate=10)
        self.name = name

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description(f"training {self.name}")

    def get_metrics(self, *arguments: Any) -> dict[str, Any]:
        return {key: value for key, value in super().get_metrics(*arguments).items() if key != "v_num"}


class Data(Protocol):
    """A data module whose whole training is one stream of optimizer steps."""

    @property
    def num_steps(self) -> int: ...

    def accumulation(self, num_devices: int) -> int: ...


def fit(
    module: pl.LightningModule,
    data: Any,
    trainer: Callable[..., pl.Trainer],
    output: Path,
    *,
    checkpoint_every_steps: int,
    name: str,
    validate_every_steps: int | None = None,
    best_by: str | None = None,
) -> Path | None:
    """Train to the last step, from the last checkpoint in `output/checkpoints` if there is one.

    A run that was interrupted continues with the same weights, optimizer, schedule and data as if it had not been; it
    repeats what came after its last checkpoint. The metrics of all attempts end in `output/metrics.csv`.

    Args:
        module: with its optimizer and schedule.
        data: a data module that is a `Data` too.
        trainer: makes the trainer, given what belongs to this training.
        checkpoint_every_steps: at least that often, in optimizer steps.
        name: in the tracker.
        validate_every_steps: where there is a validation set.
        best_by: the metric whose highest value marks the checkpoint to return.

    Of a distributed run all processes call this. Only the first is to write what comes after.

    Returns:
        the best checkpoint by `best_by`, or None without it.

    Raises:
        StageError: several devices, and no process for each (Lightning would start them anew, past the locks).
    """
    folder = output / "checkpoints"
    checkpoint, start = latest_checkpoint(folder)
    if checkpoint:
        print(f"    going on from step {start:,} of {data.num_steps:,}", flush=True)
    callbacks: list[Callback] = [
        ModelCheckpoint(folder, filename="{step}", every_n_train_steps=checkpoint_every_steps),
        _Bar(name),
    ]
    best = None
    if best_by:
        best = ModelCheckpoint(folder, filename="best", monitor=best_by, mode="max", enable_version_counter=False)
        callbacks.append(best)
    local = CSVLogger(output, name="metrics", version=f"from_step_{start}", flush_logs_every_n_steps=1)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # of no concern here: workers for loaders that read a memory map, a folder that is there to be resumed from
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*Checkpoint directory .* exists and is not empty.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        warnings.filterwarnings("ignore", message=".*`srun` command is available.*")
        made = trainer(
            max_epochs=1,
            max_steps=data.num_steps,
            callbacks=callbacks,
            logger=[local, *tracking.loggers(name)],
            # submitit puts jobs back into the queue; two that do would do it twice
            plugins=[SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else None,
            use_distributed_sampler=False,
            num_sanity_val_steps=0,
            limit_val_batches=1.0 if validate_every_steps else 0,
        )
        if made.world_size > 1 and not ({"TORCHELASTIC_RUN_ID", "SLURM_NTASKS"} & os.environ.keys()):
            raise StageError(
                f"{made.world_size} devices need a process each: start with `torchrun --nproc-per-node "
                f"{made.num_devices} run.py …`, through hydra/launcher=slurm_gpu, or set trainer.devices=1"
            )
        made.accumulate_grad_batches = data.accumulation(made.world_size)
        if validate_every_steps:
            made.val_check_interval = validate_every_steps * made.accumulate_grad_batches
        made.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    if made.global_step != data.num_steps:
        raise RuntimeError(f"training ended at step {made.global_step} of {data.num_steps}")
    if made.is_global_zero:
        _merge_metrics(output)
    return Path(best.best_model_path) if best else None


def latest_checkpoint(folder: Path) -> tuple[Path | None, int]:
    """The checkpoint with the most steps, and how many; (None, 0) where there is none."""
    steps = {file: int(found[1]) for file in folder.glob("*.ckpt") if (found := re.fullmatch(r"step=(\d+)", file.stem))}
    return max(steps.items(), key=lambda item: item[1], default=(None, 0))


def _merge_metrics(output: Path) -> None:
    """One metrics.csv out of all attempts: a later attempt replaces what an earlier one wrote past its start."""
    attempts = sorted((output / "metrics").glob("from_step_*/metrics.csv"), key=_start)
    rows: list[dict[str, str]] = []
    columns: dict[str, None] = {"step": None}
    for file in attempts:
        with open(file, newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            rows = [row for row in rows if int(row["step"]) < _start(file)] + list(reader)
            columns |= dict.fromkeys(name for name in reader.fieldnames or [] if name != "epoch")
    with open(output / "metrics.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def _start(metrics: Path) -> int:
    return int(metrics.parent.name.removeprefix("from_step_"))
