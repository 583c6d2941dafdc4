"""Judged pairs for the rater."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader
from transformers import PreTrainedTokenizerBase

from qurating import bradley_terry
from qurating.artifacts import StageError, seed_for

_MAX_MORE_TOKENS = 16


class Judgments(pl.LightningDataModule):
    """Pairs of texts with soft preferences, split into training and validation by pair.

    A batch holds `input_ids` and `attention_mask` (2 · pairs, tokens): all first texts, then all second, right-padded;
    and `preference` (pairs, criteria): p(B ≻ A), NaN where there is none or where it is below the confidence wanted.
    A training batch also holds `weight`, a number: its share of the step's preferences over its share of the parts.
    All epochs are one stream of optimizer steps, so that a resumed run goes on with the next pair.

    Args:
        judgments: folder of the judgments artifact.
        tokenizer: that the rater reads.
        criteria: columns to learn, in the order of the rater's outputs.
        minimum_confidence: pairs count where |2p − 1| is at least this (paper: 0.5).
        max_tokens: longer texts are refused.
        batch_size_pairs: an optimizer step, over all devices.
        micro_batch_size: pairs a forward pass, at most.
        num_epochs: passes over the training pairs.
        validation_fraction: of the pairs, drawn by seed.

    Raises:
        StageError: too few pairs, a criterion without judgments, a text longer than `max_tokens`.
    """

    def __init__(
        self,
        judgments: Path,
        tokenizer: PreTrainedTokenizerBase,
        criteria: list[str],
        minimum_confidence: float,
        max_tokens: int,
        batch_size_pairs: int,
        micro_batch_size: int,
        num_epochs: int,
        validation_fraction: float,
        seed: int,
    ) -> None:
        super().__init__()
        self.batch_size_pairs = batch_size_pairs
        self.micro_batch_size = micro_batch_size
        self.num_epochs = num_epochs
        self.seed = seed
        # what the network takes for padding, see models/networks.py
        if tokenizer.eos_token_id is None:
            raise StageError("the corpus' tokenizer has no end-of-text token, which pads the texts of a batch")
        self.pad_token_id = int(tokenizer.eos_token_id)
        file = judgments / "judgments.parquet"
        absent = [c for c in criteria if f"{c}_average" not in pq.read_schema(file).names]
        if absent:
            raise StageError(f"{file} has no judgments by {', '.join(absent)}")
        table = pq.read_table(file, columns=["texts", "domains", *(f"{c}_average" for c in criteria)])
        # average[i][j] = P(text j preferred over text i), so that [0][1] is p(B ≻ A)
        columns = [[average[0][1] for average in table[f"{c}_average"].to_pylist()] for c in criteria]
        averages = torch.tensor(columns, dtype=torch.float32).T
        self.judged = torch.where(averages < 0, torch.nan, averages)
        self.preference = bradley_terry.confident(self.judged, minimum_confidence)
        self.domains = table["domains"].to_pylist()
        pairs = table["texts"].to_pylist()
        texts = [text for pair in pairs for text in pair]
        self.texts = tokenizer(texts, add_special_tokens=False, verbose=False)["input_ids"]
        longest = max(map(len, self.texts), default=0)
        # a snippet that was cut between tokens can come to a few more when it is read again by itself
        if longest > max_tokens + _MAX_MORE_TOKENS:
            raise StageError(
                f"a judged text has {longest} tokens, the rater takes {max_tokens}: raise rater.max_tokens"
            )
        order = np.random.default_rng(seed_for(seed, "validation")).permutation(len(pairs))
        usable = order[(~torch.isnan(self.preference)).any(dim=1).numpy()[order]]
        num_validation = round(validation_fraction * len(order))
        self.held_out = order[:num_validation]
        self.training = usable[~np.isin(usable, self.held_out)]
        self.validation = usable[np.isin(usable, self.held_out)]
        if len(self.training) < 1 or len(self.validation) < 1:
            raise StageError(
                f"{file}: {len(usable)} of {len(pairs)} pairs are confident (|2p − 1| ≥ {minimum_confidence}), "
                "too few to train and to validate on: judge more pairs or lower rater.minimum_confidence"
            )

    @property
    def steps_per_epoch(self) -> int:
        return -(-len(self.training) // self.batch_size_pairs)

    @property
    def num_steps(self) -> int:
        return self.num_epochs * self.steps_per_epoch

    def accumulation(self, num_devices: int) -> int:
        """Forward passes an optimizer step on each device."""
        return -(-self.batch_size_pairs // (num_devices * self.micro_batch_size))

    def batch(self, indices: np.ndarray) -> dict[str, Tensor]:
        """The batch of these pairs."""
        texts = [self.texts[2 * i] for i in indices] + [self.texts[2 * i + 1] for i in indices]
        width = max(1, max(map(len, texts)))
        input_ids = torch.full((len(texts), width), self.pad_token_id)
        attention_mask = torch.zeros((len(texts), width), dtype=torch.int64)
        for row, text in enumerate(texts):
            input_ids[row, : len(text)] = torch.tensor(text)
            attention_mask[row, : len(text)] = 1
        preference = self.preference[torch.from_numpy(indices)]
        return {"input_ids": input_ids, "attention_mask": attention_mask, "preference": preference}

    def num_preferences(self, indices: np.ndarray) -> int:
        """How many preferences, over all criteria, these pairs hold."""
        return int((~torch.isnan(self.preference[torch.from_numpy(indices)])).sum())

    def train_dataloader(self) -> "PairLoader":
        assert self.trainer is not None
        return PairLoader(self, self.trainer)

    def val_dataloader(self) -> DataLoader:
        return DataLoader(self.batches(self.validation), batch_size=None)  # type: ignore[arg-type]

    def batches(self, indices: np.ndarray) -> list[dict[str, Tensor]]:
        """These pairs, in batches of one forward pass."""
        starts = range(0, len(indices), self.micro_batch_size)
        return [self.batch(indices[start : start + self.micro_batch_size]) for start in starts]


class PairLoader:
    """The micro-batches of one device, from the trainer's current step to the last of the last epoch."""

    def __init__(self, data: Judgments, trainer: pl.Trainer) -> None:
        self.data = data
        self.trainer = trainer

    def __len__(self) -> int:
        return self.data.num_steps * self.trainer.accumulate_grad_batches

    def step(self, step: int) -> np.ndarray:
        """The pairs of an optimizer step; the last of an epoch is filled up from the epoch's start."""
        data = self.data
        epoch, position = divmod(step, data.steps_per_epoch)
        order = np.random.default_rng(seed_for(data.seed, "epoch", str(epoch))).permutation(data.training)
        wanted = np.arange(position * data.batch_size_pairs, (position + 1) * data.batch_size_pairs)
        return order[wanted % len(order)]

    def __iter__(self) -> Iterator[dict[str, Tensor]]:
        trainer = self.trainer
        num_parts = trainer.world_size * trainer.accumulate_grad_batches
        for step in range(trainer.global_step, self.data.num_steps):
            pairs = self.step(step)
            in_step = self.data.num_preferences(pairs)
            mine = np.array_split(pairs, trainer.world_size)[trainer.global_rank]
            for part in np.array_split(mine, trainer.accumulate_grad_batches):
                # parts hold different numbers of preferences: each is to weigh the same, whatever the parts
                weight = num_parts * self.data.num_preferences(part) / in_step
                yield self.data.batch(part) | {"weight": torch.tensor(weight, dtype=torch.float32)}

    # Lightning asks a loader that it may resume for its state; ours is the trainer's step
    def state_dict(self) -> dict[str, int]:
        return {}

    def load_state_dict(self, state: dict[str, int]) -> None:
        pass
