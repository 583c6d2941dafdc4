"""Batches by optimizer step: the common part of the data modules of all trainings."""

from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from qurating.artifacts.seeds import seed_for
from qurating.runtime.errors import StageError

Batch = dict[str, Tensor]


class BySteps(Protocol):
    """Data as one stream of optimizer steps."""

    @property
    def num_steps(self) -> int: ...

    def step_batches(self, step: int, rank: int, num_devices: int, num_passes: int) -> Iterator[Batch]:
        """The batches of device `rank` of `num_devices` in a step: one per forward pass."""


class StepLoader:
    """The micro-batches of one device, from the trainer's current step to the last."""

    def __init__(self, data: BySteps, trainer: pl.Trainer) -> None:
        self.data = data
        self.trainer = trainer

    def __len__(self) -> int:
        return self.data.num_steps * self.trainer.accumulate_grad_batches

    def __iter__(self) -> Iterator[Batch]:
        trainer = self.trainer
        for step in range(trainer.global_step, self.data.num_steps):
            yield from self.data.step_batches(
                step, trainer.global_rank, trainer.world_size, trainer.accumulate_grad_batches
            )

    # Lightning asks a loader for the state to resume from; ours is the trainer's step
    def state_dict(self) -> dict[str, int]:
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        pass


class Samples(pl.LightningDataModule):
    """Samples learned in epochs, as one stream of optimizer steps: a resumed run continues with the next sample.

    The samples are numbered from 0. A subclass sets `training` and `validation`, the numbers of the samples for each,
    and defines `batch` and `num_targets`. A training batch also holds `weight`, a number: its share of the step's
    targets over its share of the step's batches.

    Args:
        batch_size: samples per optimizer step, over all devices.
        micro_batch_size: samples per forward pass, at most.
        num_epochs: passes over the training samples.
        seed: of the order in each epoch.
    """

    training: np.ndarray
    validation: np.ndarray

    def __init__(self, batch_size: int, micro_batch_size: int, num_epochs: int, seed: int) -> None:
        super().__init__()
        self.batch_size = batch_size
        self.micro_batch_size = micro_batch_size
        self.num_epochs = num_epochs
        self.seed = seed
        self._shuffled = (-1, np.empty(0, np.int64))  # the epoch last requested, and its order

    def batch(self, samples: np.ndarray) -> Batch:
        """The batch of these samples."""
        raise NotImplementedError

    def num_targets(self, samples: np.ndarray) -> int:
        """The number of targets of these samples, over which a loss is the mean."""
        return len(samples)

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.training) // self.batch_size)

    @property
    def num_steps(self) -> int:
        return self.num_epochs * self.steps_per_epoch

    def accumulation(self, num_devices: int) -> int:
        """Forward passes per optimizer step on each device."""
        if self.batch_size < num_devices:
            raise StageError(f"a batch of {self.batch_size} is less than one sample on each of {num_devices} devices")
        return -(-self.batch_size // (num_devices * self.micro_batch_size))

    def _order(self, epoch: int) -> np.ndarray:
        if self._shuffled[0] != epoch:
            order = np.random.default_rng(seed_for(self.seed, "epoch", str(epoch))).permutation(self.training)
            self._shuffled = (epoch, order)
        return self._shuffled[1]

    def step(self, step: int) -> np.ndarray:
        """The samples of an optimizer step; the last step of an epoch is filled up from the start of the epoch."""
        epoch, position = divmod(step, self.steps_per_epoch)
        order = self._order(epoch)
        wanted = np.arange(position * self.batch_size, (position + 1) * self.batch_size)
        return order[wanted % len(order)]

    def step_batches(self, step: int, rank: int, num_devices: int, num_passes: int) -> Iterator[Batch]:
        samples = self.step(step)
        in_step = self.num_targets(samples)
        own = np.array_split(samples, num_devices)[rank]
        for part in np.array_split(own, num_passes):
            # parts hold different numbers of targets: every target gets the same weight, whatever the parts
            weight = num_devices * num_passes * self.num_targets(part) / in_step
            yield self.batch(part) | {"weight": torch.tensor(weight, dtype=torch.float32)}

    def train_dataloader(self) -> StepLoader:
        assert self.trainer is not None
        return StepLoader(self, self.trainer)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.batches(self.validation), batch_size=None)  # type: ignore[arg-type]

    def batches(self, samples: np.ndarray) -> list[Batch]:
        """These samples, in batches of one forward pass."""
        starts = range(0, len(samples), self.micro_batch_size)
        return [self.batch(samples[start : start + self.micro_batch_size]) for start in starts]


def padded(inputs: Sequence[Sequence[int]], pad_token_id: int) -> tuple[Tensor, Tensor]:
    """Token ids and attention mask, int64 (texts, tokens of the longest), right-padded."""
    width = max(map(len, inputs), default=0)
    ids = np.full((len(inputs), max(1, width)), pad_token_id, np.int64)
    mask = np.zeros_like(ids)
    for row, text in enumerate(inputs):
        ids[row, : len(text)] = text
        mask[row, : len(text)] = 1
    return torch.from_numpy(ids), torch.from_numpy(mask)
