"""Blocks of tokens for the language model, in exactly the order of the order artifact."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytorch_lightning as pl
import torch
from torch import Tensor

from qurating.corpus.labels import NO_TARGET
from qurating.corpus.tokenizing import check_ids
from qurating.datamodules.steps import Batch, StepLoader
from qurating.runtime.errors import StageError

_MAX_IDS = 20  # in an error; the rows name them all


class TokenBlocks(pl.LightningDataModule):
    """The token stream of an order, cut into blocks of `sequence_length` and batches of whole optimizer steps.

    Step s takes blocks [s · batch, (s + 1) · batch), whatever the number of devices; device r of R takes the r-th part
    of each step. The position is the trainer's step, so that a resumed run continues with the next block, also on
    another number of devices. The missing tokens of the last step are masked (label NO_TARGET).

    Args:
        order: folder of the order artifact; `tokens.npy` is memory-mapped.
        sequence_length: tokens per block.
        batch_size_sequences: blocks per optimizer step, over all devices.
        micro_batch_size: blocks per forward pass on one device, at most.
        vocabulary_size: of the tokenizer of the tokens: its highest id + 1.

    Raises:
        ValueError: the batch cannot be divided evenly over the devices.
        StageError: a token id beyond the vocabulary, or a stream whose type cannot hold the ids.
    """

    def __init__(
        self,
        order: Path,
        sequence_length: int,
        batch_size_sequences: int,
        micro_batch_size: int,
        vocabulary_size: int,
    ) -> None:
        super().__init__()
        self.order = order
        self.file = order / "tokens.npy"
        self.tokens = np.load(self.file, mmap_mode="r")
        if vocabulary_size - 1 > np.iinfo(self.tokens.dtype).max:  # as earlier versions wrote ids with gaps
            raise StageError(
                f"{self.file} is of type {self.tokens.dtype}, and the ids of its tokenizer end at "
                f"{vocabulary_size - 1:,}: higher ids were cut. Make the order again: delete {order}, or overwrite=true"
            )
        self.vocabulary_size = vocabulary_size
        self.sequence_length = sequence_length
        self.batch_size_sequences = batch_size_sequences
        self.micro_batch_size = micro_batch_size

    @property
    def num_steps(self) -> int:
        """Optimizer steps in one pass over the tokens."""
        return -(-len(self.tokens) // (self.sequence_length * self.batch_size_sequences))

    def accumulation(self, num_devices: int) -> int:
        """Forward passes per optimizer step on each device."""
        each, rest = divmod(self.batch_size_sequences, num_devices)
        if rest:
            raise ValueError(f"{num_devices} devices cannot share {self.batch_size_sequences} sequences evenly")
        return next(n for n in range(1, each + 1) if each % n == 0 and each // n <= self.micro_batch_size)

    def train_dataloader(self) -> StepLoader:
        assert self.trainer is not None
        return StepLoader(self, self.trainer)

    def step_batches(self, step: int, rank: int, num_devices: int, num_passes: int) -> Iterator[Batch]:
        """`input_ids` and `labels` of a device's blocks, and `tokens_seen`, the tokens up to the end of the step."""
        size = self.batch_size_sequences // (num_devices * num_passes)
        first = step * self.batch_size_sequences + rank * size * num_passes
        seen = min((step + 1) * self.batch_size_sequences * self.sequence_length, len(self.tokens))
        for start in range(first, first + size * num_passes, size):
            inputs, labels = zip(*(self.block(index) for index in range(start, start + size)), strict=True)
            yield {
                "input_ids": torch.stack(inputs),
                "labels": torch.stack(labels),
                "tokens_seen": torch.tensor(seen),
            }

    def describe_step(self, step: int) -> str:
        """The sequences of a step, for an error: their rows in `order.parquet`, and the first of their ids."""
        start, end = (n * self.batch_size_sequences * self.sequence_length for n in (step, step + 1))
        columns = ["id", "offset", "length"]
        table = pq.read_table(self.order / "order.parquet", columns=columns, filters=[("offset", "<", end)])
        first = int((table["offset"].to_numpy() + table["length"].to_numpy() <= start).sum())
        ids = table["id"].slice(first).to_pylist()
        more = f" and {len(ids) - _MAX_IDS:,} more" if len(ids) > _MAX_IDS else ""
        return (
            f"rows {first:,} to {len(table) - 1:,} of {self.order / 'order.parquet'}, the sequences with the ids "
            f"{', '.join(map(str, ids[:_MAX_IDS]))}{more}"
        )

    def block(self, index: int) -> tuple[Tensor, Tensor]:
        """`input_ids` and `labels` of one block, int64 (T,); labels past the end of the stream are masked."""
        tokens = self.tokens[index * self.sequence_length : (index + 1) * self.sequence_length].astype(np.int64)
        check_ids(tokens, self.vocabulary_size, self.file)
        missing = self.sequence_length - len(tokens)
        return (
            torch.from_numpy(np.pad(tokens, (0, missing))),
            torch.from_numpy(np.pad(tokens, (0, missing), constant_values=NO_TARGET)),
        )
