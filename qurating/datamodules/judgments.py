"""Judged pairs for the rater."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from qurating import bradley_terry
from qurating.artifacts import StageError, seed_for
from qurating.datamodules.steps import Samples
from qurating.rating import padded

_MAX_MORE_TOKENS = 16


class Judgments(Samples):
    """Pairs of texts with soft preferences, split into training and validation by pair.

    A batch holds `input_ids` and `attention_mask` (2 · pairs, tokens): all first texts, then all second, right-padded;
    and `preference` (pairs, criteria): p(B ≻ A), NaN where there is none or where it is below the confidence wanted.
    The targets, by which a training batch is weighed, are the preferences; see `Samples`.

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
        super().__init__(batch_size_pairs, micro_batch_size, num_epochs, seed)
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

    def batch(self, samples: np.ndarray) -> dict[str, Tensor]:
        """The batch of these pairs."""
        texts = [self.texts[2 * i] for i in samples] + [self.texts[2 * i + 1] for i in samples]
        input_ids, attention_mask = padded(texts, self.pad_token_id)
        preference = self.preference[torch.from_numpy(samples)]
        return {"input_ids": input_ids, "attention_mask": attention_mask, "preference": preference}

    def num_targets(self, samples: np.ndarray) -> int:
        """How many preferences, over all criteria, these pairs hold."""
        return int((~torch.isnan(self.preference[torch.from_numpy(samples)])).sum())
