"""The training of the proxy model and the co-state that goes back along it, shared by several processes."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch
from transformers import PreTrainedModel

from qurating.lqs import optimal_control
from qurating.lqs.optimal_control import Batch, Vector
from qurating.lqs.samples import BadSamples, Indices, Samples
from qurating.runtime.errors import StageError

Compute = Callable[[Iterator[Batch]], tuple[float, Vector]]


def untold(num_samples: float) -> None:
    """Nobody is told how far the work is."""


def summed_over_finite(
    compute: Compute,
    model: PreTrainedModel,
    samples: Samples,
    indices: Indices,
    step: int,
    micro_batch_size: int,
    bad: BadSamples,
) -> tuple[float, Vector, int]:
    """`compute` on batches of the samples, and over how many; once more without those that are not finite, if any.

    Raises:
        StageError: as `BadSamples.refuse`; or no sample of several is finite; or the sum is not, though each sample is.
    """
    loss, vector = compute(samples.batches(indices, micro_batch_size, model.device))
    if np.isfinite(loss) and optimal_control.is_finite(vector):
        return loss, vector, len(indices)
    good = []
    for index in indices:
        alone = optimal_control.loss_gradient(model, samples.batches([int(index)], 1, model.device))
        if np.isfinite(alone[0]) and optimal_control.is_finite(alone[1]):
            good.append(int(index))
    if not good and len(indices) > 1:
        raise StageError(diverged(f"no {samples.kind} of a batch of {len(indices)} has a finite loss", step))
    bad.refuse(samples, sorted(set(indices.tolist()) - set(good)), f"its loss or gradient is not finite at step {step}")
    loss, vector = compute(samples.batches(good, micro_batch_size, model.device))
    if not (np.isfinite(loss) and optimal_control.is_finite(vector)):
        raise StageError(diverged("a sum of gradients is not finite, though each of its samples is", step))
    return loss, vector, len(good)


def diverged(what: str, step: int) -> str:
    if step == 0:  # nothing has been learned yet
        return f"{what} at step 0: the proxy model is damaged, such as by weights that are not finite"
    return f"{what} at step {step}: lower annotation.learning_rate; or the model is damaged"


class ProxyTraining:
    """Plain SGD on the batches drawn, with a constant learning rate.

    Always in float32 and with attention that adds in one order, so that a step gives the same bits each time. Each
    process takes every step. `advance` is told the work done, in samples.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        samples: Samples,
        batches: Indices,
        learning_rate: float,
        micro_batch_size: int,
        bad: BadSamples,
    ) -> None:
        self.model, self.samples, self.batches, self.learning_rate = model, samples, batches, learning_rate
        self.micro_batch_size, self.bad = micro_batch_size, bad
        self.advance: Callable[[float], Any] = untold

    def step(self, t: int) -> float:
        """Move the model from θ_t to θ_{t+1}; returns L_t(θ_t)."""
        with optimal_control.plain_attention():
            loss, gradient, count = summed_over_finite(
                lambda batches: optimal_control.loss_gradient(self.model, batches),
                self.model,
                self.samples,
                self.batches[t],
                t,
                self.micro_batch_size,
                self.bad,
            )
        if not count:
            raise StageError(diverged("the one sample of the batch is left out", t))
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.sub_(gradient[name], alpha=self.learning_rate / count)
        self.advance(len(self.batches[t]))
        return loss / count
