"""The training loop of all models: steps, checkpoints to resume from, metrics that survive an interruption."""

import csv
import functools
import logging
import shutil
import warnings
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks import Callback, TQDMProgressBar
from pytorch_lightning.loggers import CSVLogger
from pytorch_lightning.plugins.environments import SLURMEnvironment
from pytorch_lightning.strategies import ModelParallelStrategy

from qurating.artifacts.files import write_json
from qurating.models.step_loss import NotFiniteError
from qurating.runtime import internals
from qurating.runtime.errors import StageError
from qurating.runtime.malloc import keep_freed_memory
from qurating.training import tracking
from qurating.training.checkpoints import Checkpoints, OneFile, latest


class _Bar(TQDMProgressBar):
    """Lightning's progress bar, for a training as one stream of steps."""

    def __init__(self, name: str) -> None:
        super().__init__(refresh_rate=10)
        self.name = name

    def on_train_epoch_start(self, trainer: pl.Trainer, *_: Any) -> None:
        super().on_train_epoch_start(trainer)
        self.train_progress_bar.set_description(f"training {self.name}")

    def get_metrics(self, *arguments: Any) -> dict[str, Any]:
        return {key: value for key, value in super().get_metrics(*arguments).items() if key != "v_num"}


def fit(
    module: pl.LightningModule,
    data: Any,
    trainer: functools.partial[pl.Trainer],
    output: Path,
    *,
    gradient_clip_norm: float | None,
    checkpoint_every_steps: int,
    name: str,
    validate_every_steps: int | None = None,
    best_by: str | None = None,
    callbacks: Sequence[Callback] = (),
) -> None:
    """Train to the last step, from the last checkpoint in `output/checkpoints` if there is one.

    An interrupted run continues from its last checkpoint with the same weights, optimizer, schedule and data as if it
    had not been interrupted. `output/metrics.csv` has the metrics of all attempts.

    Args:
        module: with its optimizer and schedule.
        data: a data module that is one stream of steps: it has `num_steps` and `accumulation(num_devices)`, the forward
            passes per step on each device. It may have `describe_step(step)`, for errors.
        trainer: makes the trainer, given the arguments that belong to this training.
        gradient_clip_norm: of all gradients together; None does not clip.
        checkpoint_every_steps: optimizer steps between two checkpoints, at most.
        name: of the model, for people.
        validate_every_steps: optimizer steps between two validations; None without a validation set.
        best_by: the metric whose highest value marks the weights to keep, see `checkpoints.load_best`.
        callbacks: called before the checkpoints, which keep their states.

    In a distributed run every process calls this. Only the first one may write results afterwards, and `clear` at the
    end.

    Raises:
        StageError: the trainer sets an argument that belongs to this training, or shards a module that cannot be; a
            loss or gradient is not finite: the message names the step and its data, and the last checkpoint stays; a
            checkpoint cannot be written: the last one stays.
    """
    folder = output / "checkpoints"
    checkpoint, start = latest(folder)
    if checkpoint:
        print(f"    resuming from step {start:,} of {data.num_steps:,}", flush=True)
    states = Checkpoints(folder, checkpoint_every_steps, validate_every_steps, best_by)
    trackers = tracking.loggers()
    for row in _attempts(output)[1] if trackers else []:
        metrics = {key: float(value) for key, value in row.items() if value and key != "step"}
        if int(row["step"]) < start:  # a tracker may lack what it was sent just before a kill
            for tracker in trackers:
                tracker.log_metrics(metrics, int(row["step"]))
    local = CSVLogger(output, name="metrics", version=f"from_step_{start}", flush_logs_every_n_steps=1)
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)
    with warnings.catch_warnings():
        # harmless here: too few workers for a loader that reads a memory map, and the like
        warnings.filterwarnings("ignore", message=".*does not have many workers.*")
        warnings.filterwarnings("ignore", message=".*LeafSpec.*")
        # each device validates on the whole set: no average over devices is needed
        warnings.filterwarnings("ignore", message=".*sync_dist=True.*")
        warnings.filterwarnings("ignore", message=".*`srun` command is available.*")
        ours = {
            "max_epochs": 1,
            "max_steps": data.num_steps,
            "callbacks": [*callbacks, states, _Bar(name)],
            "logger": [local, *trackers],
            # submitit requeues jobs; a second requeue would run them twice
            "plugins": [OneFile(), *([SLURMEnvironment(auto_requeue=False)] if SLURMEnvironment.detect() else [])],
            "gradient_clip_val": gradient_clip_norm,
            "enable_checkpointing": False,  # Lightning's own
            "use_distributed_sampler": False,
            "num_sanity_val_steps": 0,
            "limit_val_batches": 1.0 if validate_every_steps else 0,
        }
        clash = sorted(trainer.keywords.keys() & (ours.keys() | {"accumulate_grad_batches", "val_check_interval"}))
        if clash:
            raise StageError(f"trainer.{clash[0]} cannot be set: the settings of the training decide it")
        made = trainer(**ours)
        if isinstance(made.strategy, ModelParallelStrategy) and not _can_be_sharded(module):
            raise StageError(f"trainer=fsdp shards no weights of a {name}: use trainer=gpu")
        if made.is_global_zero:  # for `python -m qurating.status`
            write_json(output / "metrics" / "total.json", data.num_steps)
        internals.set_passes(made, data.accumulation(made.world_size), validate_every_steps)
        try:
            with keep_freed_memory(made.strategy.root_device):
                made.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
        except NotFiniteError as error:
            raise _diverged(name, error, made.global_step, data, latest(folder)[1]) from error
    if made.global_step != data.num_steps:
        raise RuntimeError(f"training ended at step {made.global_step} of {data.num_steps}")
    if made.is_global_zero:
        _merge_metrics(output)


def clear(output: Path) -> None:
    """Delete what only an interrupted training needs, once its results are written."""
    shutil.rmtree(output / "checkpoints", ignore_errors=True)
    shutil.rmtree(output / "metrics")


def _diverged(name: str, error: NotFiniteError, step: int, data: Any, saved_step: int) -> StageError:
    """The error for a training that stopped before it took a step; steps are counted from 1, as in checkpoints.

    The data come last: a sweep shows the beginning of a message.
    """
    read = f". The step reads {data.describe_step(step)}" if hasattr(data, "describe_step") else ""
    kept = f"the checkpoint of step {saved_step:,} is kept" if saved_step else "there is no checkpoint yet"
    setting = f"{'model' if name == 'lm' else name}.optimizer.lr"
    return StageError(
        f"the {name} diverged: {error} is not finite at step {step + 1:,} of {data.num_steps:,}; {kept}. Lower "
        f"{setting}, or leave the data of the step out: the same settings would end here again{read}"
    )


def _can_be_sharded(module: pl.LightningModule) -> bool:
    return type(module).configure_model is not pl.LightningModule.configure_model


def _merge_metrics(output: Path) -> None:
    columns, rows = _attempts(output)
    with open(output / "metrics.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def _attempts(output: Path) -> tuple[list[str], list[dict[str, str]]]:
    """The columns and rows of all attempts: a later one replaces the rows of earlier ones from its start on."""
    rows: list[dict[str, str]] = []
    columns: dict[str, None] = {"step": None}
    for file in sorted((output / "metrics").glob("from_step_*/metrics.csv"), key=_start):
        with open(file, newline="", encoding="utf-8") as stream:
            reader = csv.DictReader(stream)
            rows = [row for row in rows if int(row["step"]) < _start(file)] + list(reader)
            columns |= dict.fromkeys(name for name in reader.fieldnames or [] if name != "epoch")
    return list(columns), rows


def _start(metrics: Path) -> int:
    return int(metrics.parent.name.removeprefix("from_step_"))
