"""The training of the proxy model, and sums over the samples of a batch that are finite."""

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


def no_progress(num_samples: float) -> None:
    """Report no progress."""


def summed_over_finite(
    compute: Compute,
    model: PreTrainedModel,
    samples: Samples,
    indices: Indices,
    step: int,
    micro_batch_size: int,
    bad: BadSamples,
) -> tuple[float, Vector, int]:
    """The loss and vector of `compute` on batches of the samples, and the number of samples.

    If either is not finite, they are computed again without the samples that are not finite.

    Raises:
        StageError: as `BadSamples.refuse` does; or none of several samples is finite; or each is, and the sum is not.
    """
    loss, vector = compute(samples.batches(indices, micro_batch_size, model.device))
    if np.isfinite(loss) and optimal_control.is_finite(vector):
        return loss, vector, len(indices)
    finite = []
    for index in indices:
        alone = optimal_control.loss_gradient(model, samples.batches([int(index)], 1, model.device))
        if np.isfinite(alone[0]) and optimal_control.is_finite(alone[1]):
            finite.append(int(index))
    if not finite and len(indices) > 1:
        raise StageError(_divergence(f"none of {len(indices)} {samples.kind}s has a finite loss", step))
    others = sorted(set(indices.tolist()) - set(finite))
    bad.refuse(samples, others, f"its loss or gradient is not finite at step {step}")
    loss, vector = compute(samples.batches(finite, micro_batch_size, model.device))
    if not (np.isfinite(loss) and optimal_control.is_finite(vector)):
        raise StageError(_divergence("a sum of gradients is not finite, though each of its samples is", step))
    return loss, vector, len(finite)


def _divergence(what: str, step: int) -> str:
    """The message for a training that diverged; at step 0, where nothing is learned yet, the model is to blame."""
    if step == 0:
        return f"{what} at step 0: the proxy model is damaged, such as by weights that are not finite"
    return f"{what} at step {step}: lower annotation.learning_rate; or the model is damaged"


class ProxyTraining:
    """Plain SGD on the drawn batches, with a constant learning rate.

    Always in float32 and with attention that adds in a fixed order, so that a repeated step gives the same bits. Each
    process takes every step. `advance` is called with the work done, in samples.
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
        self.advance: Callable[[float], Any] = no_progress

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
            raise StageError(_divergence("the only sample of the batch is left out", t))
        with torch.no_grad():
            for name, parameter in self.model.named_parameters():
                parameter.sub_(gradient[name], alpha=self.learning_rate / count)
        self.advance(len(self.batches[t]))
        return loss / count
