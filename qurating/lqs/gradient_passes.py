"""Norms and dot products of the gradients of all proxy samples at one state of the model, in blocks on disk."""

import contextlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedModel

from qurating.lqs.optimal_control import Vector
from qurating.lqs.per_sample_gradients import norms_and_dots
from qurating.lqs.samples import BadSamples, Samples
from qurating.lqs.tensors import read_tensors, write_tensors
from qurating.runtime.errors import StageError

# Samples per file. A kill loses at most one file per process; the files do not depend on the number of processes.
BLOCK = 256


class GradientPasses:
    """Passes over the samples, one per step; finished blocks are never computed again.

    Block b of every pass belongs to process b mod `num_processes`; all processes share the folder.

    Args:
        model: on its device; the caller moves it from step to step.
        usable: (N,), the samples that have a target; the others get NaN.
        micro_batch_size: sequences per forward pass; changes the results by rounding alone.
        precision: opens the context of the forward and backward passes.
        process, num_processes: of a distributed run.

    `advance` is called with the number of samples after each micro-batch.
    """

    def __init__(
        self,
        folder: Path,
        model: PreTrainedModel,
        samples: Samples,
        usable: NDArray[np.bool_],
        bad: BadSamples,
        *,
        micro_batch_size: int,
        layer_checkpointing: bool = False,
        precision: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext,
        process: int = 0,
        num_processes: int = 1,
    ) -> None:
        self.folder, self.model, self.samples, self.usable, self.bad = folder, model, samples, usable, bad
        self.micro_batch_size, self.layer_checkpointing, self.precision = (
            micro_batch_size,
            layer_checkpointing,
            precision,
        )
        self.blocks = -(-len(samples) // BLOCK)
        self.own = range(process, self.blocks, num_processes)
        self.advance: Callable[[float], Any] = lambda num_samples: None

    def missing(self, step: int) -> list[int]:
        """The blocks of this process that are not on disk yet."""
        return [block for block in self.own if not self._file(step, block).is_file()]

    def num_samples(self, blocks: list[int] | range) -> int:
        return sum(int(self.usable[block * BLOCK : (block + 1) * BLOCK].sum()) for block in blocks)

    def run(self, step: int, direction: Vector | None) -> None:
        """Compute the missing blocks of this process at the current state of the model, θ_step.

        Without a direction the dot products are 0.

        Raises:
            StageError: as `BadSamples.refuse` does, for a sample whose gradient is zero or not finite; or no gradient
                of a block is finite.
        """
        if direction is None:
            direction = {name: torch.zeros_like(p, requires_grad=False) for name, p in self.model.named_parameters()}
        for block in self.missing(step):
            norms, dots = self._block(step, block, direction)
            write_tensors(self._file(step, block), {"norms": torch.from_numpy(norms), "dots": torch.from_numpy(dots)})

    def _block(self, step: int, block: int, direction: Vector) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        first, last = block * BLOCK, min((block + 1) * BLOCK, len(self.samples))
        norms, dots = np.full((2, last - first), np.nan)
        indices = first + np.flatnonzero(self.usable[first:last])
        for group in self.samples.grouped(indices, self.micro_batch_size):
            batch = self.samples.batch(group, self.model.device)
            with self.precision():
                found = norms_and_dots(self.model, batch, direction, layer_checkpointing=self.layer_checkpointing)
            norms[group - first], dots[group - first] = (values.cpu().numpy() for values in found)
            self.advance(len(group))
        finite = np.isfinite(norms) & np.isfinite(dots)
        not_finite = indices[~finite[indices - first]].tolist()
        if len(not_finite) == len(indices) > 1:
            raise StageError(
                f"none of {len(indices)} proxy sequences has a finite gradient at step {step}: lower "
                "annotation.learning_rate; or the model is damaged"
            )
        self.bad.refuse(self.samples, not_finite, f"its gradient is not finite at step {step}")
        zero = indices[norms[indices - first] == 0].tolist()
        self.bad.refuse(self.samples, zero, f"its gradient is zero at step {step}, so its norm cannot divide")
        return norms, dots

    def read(self, step: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Norms and dot products of all samples (N,) at a step, from the blocks of all processes."""
        parts = [read_tensors(self._file(step, block))[0] for block in range(self.blocks)]
        return (
            torch.cat([part["norms"] for part in parts]).numpy(),
            torch.cat([part["dots"] for part in parts]).numpy(),
        )

    def _file(self, step: int, block: int) -> Path:
        return self.folder / f"step-{step}" / f"{block:06}.safetensors"
