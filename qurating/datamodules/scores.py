"""Annotated sequences for the scorer."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import torch
from torch import Tensor

from qurating.corpus.sequences import read_sequences
from qurating.corpus.token_reader import TokenReader
from qurating.corpus.windows import windows
from qurating.datamodules.steps import Samples, padded
from qurating.metrics.held_out import split
from qurating.runtime.errors import StageError

MIN_SEQUENCES = 20


class Scores(Samples):
    """Sequences with annotated scores, split into training and validation by sequence.

    A batch holds `input_ids` and `attention_mask` (W, T) of the windows of B sequences, right-padded; `sequence` (W,),
    the number of each window's sequence; and `label` (B,), the annotated scores, not clipped, as standard deviations
    from their mean. Mean and standard deviation are those of the training part.

    Args:
        corpus: the corpus of the annotated sequences.
        annotation: folder of the annotation artifact.
        reader: turns rows of the corpus into tokens.
        max_tokens: of a window.
        batch_size_sequences: sequences per optimizer step, over all devices.
        micro_batch_size: sequences per forward pass, at most.
        num_epochs: passes over the training sequences.
        validation_fraction: of the sequences, drawn by seed.

    Raises:
        StageError: too few sequences, scores that are not numbers or all the same, an annotation of another corpus.
    """

    def __init__(
        self,
        corpus: Path,
        annotation: Path,
        reader: TokenReader,
        *,
        max_tokens: int,
        batch_size_sequences: int,
        micro_batch_size: int,
        num_epochs: int,
        validation_fraction: float,
        seed: int,
    ) -> None:
        super().__init__(batch_size_sequences, micro_batch_size, num_epochs, seed)
        file = annotation / "annotation.parquet"
        table = pq.read_table(file, columns=["id", "shard", "row", "domain", "lqs"])
        scores = table["lqs"].to_numpy().astype(np.float64)
        if len(scores) < MIN_SEQUENCES:
            raise StageError(
                f"{file} has {len(scores)} annotated sequences, and a scorer learns from at least {MIN_SEQUENCES}: "
                "raise annotation.num_proxy_sequences"
            )
        broken = np.flatnonzero(~np.isfinite(scores))
        if len(broken):
            named = ", ".join(str(table["id"][i]) for i in broken[:5])
            raise StageError(
                f"{file}: the score of {len(broken):,} of {len(scores):,} sequences is not a number (id {named}"
                f"{', ...' if len(broken) > 5 else ''}): annotate them again, or remove them"
            )
        self.validation, self.training = split(len(scores), validation_fraction, seed)
        if len(self.validation) < 2 or len(self.training) < 2:
            raise StageError(
                f"of {len(scores)} annotated sequences {len(self.validation)} are for validation and "
                f"{len(self.training)} for training: change scorer.validation_fraction={validation_fraction}"
            )
        self.mean, self.std = float(scores[self.training].mean()), float(scores[self.training].std())
        # the mean of equal numbers is rounded, and the deviation is not quite 0
        if self.std <= 1e-9 * abs(self.mean) or self.std == 0:
            raise StageError(
                f"{file}: all {len(self.training):,} scores to train on are {self.mean:g}: there is nothing to learn"
            )
        self.standardised = (scores - self.mean) / self.std
        self.domains = table["domain"].to_pylist()
        self.input_ids = reader(read_sequences(corpus, table, [reader.column]))
        self.pad_token_id = reader.pad_token_id
        self.max_tokens = max_tokens
        self.labels = torch.from_numpy(self.standardised.astype(np.float32))

    def batch(self, samples: np.ndarray) -> dict[str, Tensor]:
        """The batch of these sequences."""
        parts = [windows(self.input_ids[i], self.max_tokens) for i in samples]
        input_ids, attention_mask = padded([window for part in parts for window in part], self.pad_token_id)
        return {
            "input_ids": input_ids,
            "attention_mask": attention_mask,
            "sequence": torch.from_numpy(np.repeat(np.arange(len(parts)), [len(part) for part in parts])),
            "label": self.labels[torch.from_numpy(samples)],
        }
