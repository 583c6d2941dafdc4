"""Blocks of tokens for the language model, in exactly the order that the order artifact lays down."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytorch_lightning as pl
import torch
from torch import Tensor


class TokenBlocks(pl.LightningDataModule):
    """The token stream of an order, cut into blocks of `sequence_length` and batches of whole optimizer steps.

    Step s takes blocks [s · batch, (s + 1) · batch), whatever the number of devices; device r of R takes the r-th part
    of each. The position is the trainer's step, so that a resumed run goes on with the next block, also on another
    number of devices. What is missing in the last step is masked (label −100).

    Args:
        order: folder of the order artifact; `tokens.npy` is memory-mapped.
        sequence_length: tokens a block.
        batch_size_sequences: blocks an optimizer step, over all devices.
        micro_batch_size: blocks a forward pass on one device, at most.

    Raises:
        ValueError: the batch cannot be shared out evenly over the devices.
    """

    def __init__(self, order: Path, sequence_length: int, batch_size_sequences: int, micro_batch_size: int) -> None:
        super().__init__()
        self.tokens = np.load(order / "tokens.npy", mmap_mode="r")
        self.sequence_length = sequence_length
        self.batch_size_sequences = batch_size_sequences
        self.micro_batch_size = micro_batch_size

    @property
    def num_steps(self) -> int:
        """Optimizer steps in one pass over the tokens."""
        return -(-len(self.tokens) // (self.sequence_length * self.batch_size_sequences))

    def accumulation(self, num_devices: int) -> int:
        """Forward passes an optimizer step on each device."""
        each, rest = divmod(self.batch_size_sequences, num_devices)
        if rest:
            raise ValueError(f"a batch of {self.batch_size_sequences} sequences is not shared evenly by {num_devices}")
        return next(n for n in range(1, each + 1) if each % n == 0 and each // n <= self.micro_batch_size)

    def train_dataloader(self) -> "StepwiseLoader":
        assert self.trainer is not None
        return StepwiseLoader(self, self.trainer)

    def block(self, index: int) -> tuple[Tensor, Tensor]:
        """`input_ids` and `labels` of one block, int64 (T,); past the end of the stream everything is masked."""
        piece = self.tokens[index * self.sequence_length : (index + 1) * self.sequence_length].astype(np.int64)
        missing = self.sequence_length - len(piece)
        return (
            torch.from_numpy(np.pad(piece, (0, missing))),
            torch.from_numpy(np.pad(piece, (0, missing), constant_values=-100)),
        )


class StepwiseLoader:
    """The micro-batches of one device, from the trainer's current step to the last."""

    def __init__(self, data: TokenBlocks, trainer: pl.Trainer) -> None:
        self.data = data
        self.trainer = trainer

    def __len__(self) -> int:
        return self.data.num_steps * self.trainer.accumulate_grad_batches

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        data, trainer = self.data, self.trainer
        num_devices, rank, passes = trainer.world_size, trainer.global_rank, trainer.accumulate_grad_batches
        size = data.batch_size_sequences // (num_devices * passes)
        for step in range(trainer.global_step, data.num_steps):
            first = step * data.batch_size_sequences + rank * size * passes
            seen = min((step + 1) * data.batch_size_sequences * data.sequence_length, len(data.tokens))
            for start in range(first, first + size * passes, size):
                inputs, labels = zip(*(data.block(index) for index in range(start, start + size)), strict=True)
                yield {
                    "input_ids": torch.stack(inputs),
                    "labels": torch.stack(labels),
                    "tokens_seen": torch.tensor(seen),
                }

    # Lightning asks a loader that it may resume for its state; ours is the trainer's step
    def state_dict(self) -> dict[str, int]:
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        pass
