"""Judged pairs for the rater."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from transformers import PreTrainedTokenizerBase

from qurating.datamodules.steps import Batch, Samples, padded
from qurating.metrics import bradley_terry
from qurating.metrics.held_out import split
from qurating.runtime.errors import StageError

_MAX_MORE_TOKENS = 16


class Judgments(Samples):
    """Pairs of texts with soft preferences, split into training and validation by pair.

    Pairs of a step with similar lengths share a forward pass of at most `tokens_per_micro_batch` tokens. In it the
    longer texts of the pairs and the shorter ones are padded separately, so that little is padding. A batch of P pairs
    holds `longer_ids`, `longer_mask`, `shorter_ids` and `shorter_mask` (P, tokens), right-padded; `b_is_longer` (P,),
    bool; and `preference` (P, criteria): p(B ≻ A), NaN without a judgment or below the minimum confidence. The
    preferences are the targets that a training batch is weighted by; see `Samples`.

    Args:
        judgments: folder of the judgments artifact.
        tokenizer: of the rater.
        criteria: columns to learn, in the order of the rater's outputs.
        minimum_confidence: preferences count if |2p − 1| is at least this (paper: 0.5).
        label_temperature: of the learned preferences, see `bradley_terry.tempered`; 1 leaves them as they are.
        max_tokens: longer texts are refused.
        batch_size_pairs: pairs per optimizer step, over all devices.
        tokens_per_micro_batch: the most tokens of a forward pass, padding included; it has at least one pair.
        num_epochs: passes over the training pairs.
        validation_fraction: of the pairs, drawn by seed.

    Raises:
        StageError: too few pairs, a criterion without judgments, a text longer than `max_tokens`, an impossible
            setting.
    """

    def __init__(
        self,
        judgments: Path,
        tokenizer: PreTrainedTokenizerBase,
        criteria: list[str],
        *,
        minimum_confidence: float,
        label_temperature: float,
        max_tokens: int,
        batch_size_pairs: int,
        tokens_per_micro_batch: int,
        num_epochs: int,
        validation_fraction: float,
        seed: int,
    ) -> None:
        super().__init__(batch_size_pairs, batch_size_pairs, num_epochs, seed)
        if not 0 <= minimum_confidence <= 1:
            raise StageError(f"rater.minimum_confidence={minimum_confidence}: |2p − 1| lies between 0 and 1")
        if not label_temperature > 0:
            raise StageError(f"rater.label_temperature={label_temperature}: it must be above 0")
        # the network's padding token, see models/networks.py
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else tokenizer.eos_token_id
        if pad is None:
            raise StageError("the tokenizer of the corpus has no end-of-text token, which pads the texts of a batch")
        self.pad_token_id = int(pad)
        self.tokens_per_micro_batch = tokens_per_micro_batch
        file = judgments / "judgments.parquet"
        absent = [c for c in criteria if f"{c}_average" not in pq.read_schema(file).names]
        if absent:
            raise StageError(f"{file} has no judgments by {', '.join(absent)}")
        table = pq.read_table(file)
        # average[i][j] = P(text j preferred over text i), so that [0][1] is p(B ≻ A)
        averages = np.stack([_matrices(table, f"{c}_average")[:, 0, 1] for c in criteria], axis=1)
        self.judged_preference = torch.from_numpy(np.where(averages < 0, np.nan, averages)).float()
        self.preference_by_order = _by_order(table, criteria)
        self.confident_preference = bradley_terry.confident(self.judged_preference, minimum_confidence)
        self.preference = bradley_terry.tempered(self.confident_preference, label_temperature)
        self.domains: list[list[str]] = table["domains"].to_pylist()
        self.pairs: list[list[str]] = table["texts"].to_pylist()
        # text that spells a special token is tokenised as plain text
        texts = [text for pair in self.pairs for text in pair]
        tokenised = tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)["input_ids"]
        unknown = tokenizer.unk_token_id
        self.texts = [ids or [self.pad_token_id if unknown is None else unknown] for ids in tokenised]
        self.lengths = np.array([len(text) for text in self.texts], np.int64).reshape(-1, 2)
        longest = int(self.lengths.max(initial=0))
        # a snippet that was cut between tokens can have a few more when it is tokenised alone
        if longest > max_tokens + _MAX_MORE_TOKENS:
            raise StageError(
                f"a judged text has {longest} tokens, the rater reads {max_tokens}: raise rater.max_tokens"
            )
        self.held_out, others = split(len(self.pairs), validation_fraction, seed)
        usable = (~torch.isnan(self.preference)).any(dim=1).numpy()
        self.training = others[usable[others]]
        self.validation = self.held_out[usable[self.held_out]]
        if len(self.training) < 1 or len(self.validation) < 1:
            raise StageError(
                f"{file}: {usable.sum()} of {len(self.pairs)} pairs are confident (|2p − 1| ≥ {minimum_confidence}), "
                "too few for training and validation: judge more pairs, or lower rater.minimum_confidence"
            )

    def batch(self, samples: np.ndarray) -> Batch:
        """The batch of these pairs."""
        b_is_longer = self.lengths[samples, 1] > self.lengths[samples, 0]
        longer, shorter = 2 * samples + b_is_longer, 2 * samples + ~b_is_longer
        made = {"b_is_longer": torch.from_numpy(b_is_longer), "preference": self.preference[torch.from_numpy(samples)]}
        for name, chosen in (("longer", longer), ("shorter", shorter)):
            made[f"{name}_ids"], made[f"{name}_mask"] = padded([self.texts[i] for i in chosen], self.pad_token_id)
        return made

    def num_targets(self, samples: np.ndarray) -> int:
        """The number of preferences of these pairs, over all criteria."""
        return int((~torch.isnan(self.preference[torch.from_numpy(samples)])).sum())

    def by_length(self, samples: np.ndarray) -> np.ndarray:
        """These pairs, ascending by their longer text, then by their shorter."""
        lengths = self.lengths[samples]
        return samples[np.lexsort((lengths.min(axis=1), lengths.max(axis=1)))]

    def parts(self, ordered: np.ndarray) -> list[np.ndarray]:
        """Pairs in the order of `by_length`, cut into batches of at most `tokens_per_micro_batch` tokens."""
        cuts, start, shorter = [], 0, 0
        for place, (low, high) in enumerate(np.sort(self.lengths[ordered], axis=1).tolist()):
            shorter = max(shorter, low)
            # `high` is the width of the longer texts, because they ascend
            if place > start and (place + 1 - start) * (high + shorter) > self.tokens_per_micro_batch:
                cuts.append(place)
                start, shorter = place, low
        return np.split(ordered, cuts)

    def accumulation(self, num_devices: int) -> int:
        """Forward passes per optimizer step on each device: as many as the step with the longest texts needs."""
        if self.batch_size < num_devices:
            raise StageError(f"a batch of {self.batch_size} is less than one pair on each of {num_devices} devices")
        steps = (self.by_length(self.step(step)) for step in range(self.num_steps))
        return max(len(self.parts(pairs[rank::num_devices])) for pairs in steps for rank in range(num_devices))

    def step_batches(self, step: int, rank: int, num_devices: int, num_passes: int) -> Iterator[Batch]:
        """The batches of a device in the passes of a step: its share of each length, cut into one part per pass."""
        pairs = self.by_length(self.step(step))
        in_step = self.num_targets(pairs)
        parts = self.parts(pairs[rank::num_devices])
        while len(parts) < num_passes:  # halve the largest; if none can be, a pair with weight 0 fills the pass
            largest = max(range(len(parts)), key=lambda i: len(parts[i]))
            if len(parts[largest]) == 1:
                break
            parts[largest : largest + 1] = np.array_split(parts[largest], 2)
        for part in parts:
            weight = num_devices * num_passes * self.num_targets(part) / in_step
            yield self.batch(part) | {"weight": torch.tensor(weight, dtype=torch.float32)}
        for _ in range(num_passes - len(parts)):
            yield self.batch(parts[0][:1]) | {"weight": torch.tensor(0.0)}

    def batches(self, samples: np.ndarray) -> list[Batch]:
        """These pairs in the order of `by_length`, in batches of one forward pass."""
        return [self.batch(part) for part in self.parts(self.by_length(samples))]


def _matrices(table: pa.Table, column: str) -> np.ndarray:
    """A column of 2 × 2 nested lists as (pairs, 2, 2), float64."""
    return pc.list_flatten(pc.list_flatten(table[column])).to_numpy().astype(np.float64).reshape(-1, 2, 2)


def _by_order(table: pa.Table, criteria: list[str]) -> np.ndarray | None:
    """p(B ≻ A) with text A shown first and with text B shown first, (pairs, criteria, 2), NaN for an absent order; None
    for judgments without votes by order."""
    if not all(f"{c}_votes_{label}" in table.column_names for c in criteria for label in "ab"):
        return None
    found = np.empty((table.num_rows, len(criteria), 2))
    for c, name in enumerate(criteria):
        # votes[i][j] are for text i shown as A and text j as B
        a, b = (np.where(m < 0, np.nan, m) for m in (_matrices(table, f"{name}_votes_{label}") for label in "ab"))
        with np.errstate(invalid="ignore"):
            found[:, c, 0] = b[:, 0, 1] / (a[:, 0, 1] + b[:, 0, 1])
            found[:, c, 1] = a[:, 1, 0] / (a[:, 1, 0] + b[:, 1, 0])
    return found
