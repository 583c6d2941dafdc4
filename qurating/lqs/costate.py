"""The co-state of eq. 8, computed backwards along the training of the proxy model."""

import contextlib
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from lightning_fabric import Fabric
from torch import Tensor

from qurating.lqs import optimal_control
from qurating.lqs.optimal_control import Batch, Vector
from qurating.lqs.proxy_training import Compute, ProxyTraining, no_progress, summed_over_finite
from qurating.lqs.samples import BadSamples, Indices, Samples
from qurating.lqs.tensors import read_tensors, write_tensors
from qurating.runtime.errors import StageError

# The cost per sample, in forward and backward passes of one sample: binary fractions, so that sums are exact
FORWARD_COST = 0.375

PRODUCT_COSTS = {"exact": 3.5, "finite_differences": 2.0, "none": 0.0}


class Costate:
    """λ_t of eq. 8, from θ_T backwards; the same bits on every process, and on disk after each step.

    The processes share the work: each computes the gradients of its part of the target set and of the batch.

    Args:
        file: where λ_t is kept; a run resumes from the file of an interrupted one.
        training: the training to go back along.
        target: the samples of J.
        hessian: one of `optimal_control.HESSIANS`.
        precision: opens the context of the target gradients; the Hessian products are in float32.

    `advance` is called with the work done by this process, in samples.
    """

    def __init__(
        self,
        file: Path,
        training: ProxyTraining,
        target: Samples,
        fabric: Fabric,
        *,
        hessian: str,
        micro_batch_size: int,
        bad: BadSamples,
        precision: Callable[[], AbstractContextManager[Any]] = contextlib.nullcontext,
    ) -> None:
        self.file, self.training, self.target, self.fabric = file, training, target, fabric
        self.model, self.micro_batch_size, self.bad = training.model, micro_batch_size, bad
        self.product = optimal_control.HESSIANS[hessian]
        # a double backward takes several times the memory of a gradient
        self.product_batch_size = max(1, micro_batch_size // 8) if hessian == "exact" else micro_batch_size
        self.precision = precision
        self.advance: Callable[[float], Any] = no_progress
        self.vector: Vector | None = None
        self.step = len(training.batches) + 1  # the t of λ_t in `vector`
        self.target_losses: dict[int, float] = {}
        if file.is_file():
            tensors, notes = read_tensors(file)
            self.vector = {name: part.to(self.model.device) for name, part in tensors.items()}
            self.step = notes["step"]
            self.target_losses = {int(step): loss for step, loss in notes["target_losses"].items()}
        by_length = np.argsort(target.lengths, kind="stable")
        self.own_target = self._not_left_out(by_length[fabric.global_rank :: fabric.world_size])
        own_batch = training.batches[0, fabric.global_rank :: fabric.world_size]
        self.product_cost = len(own_batch) * PRODUCT_COSTS[hessian]

    def step_back(self) -> None:
        """Go from λ_{t+1} to λ_t, with the model at θ_t."""
        t = self.step - 1
        model, training = self.model, self.training
        with self.precision():
            loss, gradient, num_target = self._summed(
                lambda batches: optimal_control.loss_gradient(model, self._counted(batches)),
                self.target,
                self.own_target,
            )
        product: Vector | None = None
        num_batch = 0
        if self.vector is not None:
            known = self.vector
            own = training.batches[t][self.fabric.global_rank :: self.fabric.world_size]
            _, product, num_batch = self._summed(
                lambda batches: (0.0, self.product(model, batches, known)),
                training.samples,
                own,
                self.product_batch_size,
            )
            self.advance(self.product_cost)
        if num_target < len(self.own_target):
            self.own_target = self._not_left_out(self.own_target)
        loss, total_target, total_batch = self._reduced(loss, num_target, num_batch)
        if not total_target:
            raise StageError(f"no {self.target.kind} has a finite loss: the reasons are in {self.bad.folder}")
        for vector, count in ((gradient, total_target), (product or {}, total_batch)):
            for part in vector.values():
                part /= max(count, 1)
        increment = optimal_control.costate_increment(gradient, product, training.learning_rate)
        # every process adds the same bits, because the increment is reduced over all of them
        increment = {name: self._sum(part) for name, part in increment.items()}
        if self.vector is None:
            self.vector = increment
        else:
            for name, part in self.vector.items():
                part += increment[name]
        self.step = t
        self.target_losses[t] = loss / total_target
        if self.fabric.is_global_zero:
            write_tensors(self.file, self.vector, {"step": t, "target_losses": self.target_losses})

    def measure_target(self, t: int) -> None:
        """Measure J(θ_t) alone, with the model at θ_t, at a step whose co-state is not needed."""
        found: list[float] = []
        with torch.no_grad(), self.precision():
            for group in self.target.grouped(self.own_target, self.micro_batch_size):
                by_sample = optimal_control.losses(self.model, self.target.batch(group, self.model.device)).double()
                not_finite = group[~torch.isfinite(by_sample).cpu().numpy()]
                self.bad.refuse(self.target, not_finite.tolist(), f"its loss is not finite at step {t}")
                found += by_sample[torch.isfinite(by_sample)].tolist()
                self.advance(len(group) * FORWARD_COST)
        total, count = self._reduced(sum(found), len(found))
        self.target_losses[t] = total / max(count, 1)

    def _not_left_out(self, indices: Indices) -> Indices:
        """The target samples among `indices` that have not been left out."""
        left_out = [row["index"] for row in self.bad.left_out() if row["kind"] == self.target.kind]
        return indices[~np.isin(indices, left_out)]

    def _summed(
        self, compute: Compute, samples: Samples, indices: Indices, micro_batch_size: int | None = None
    ) -> tuple[float, Vector, int]:
        size = micro_batch_size or self.micro_batch_size
        return summed_over_finite(compute, self.model, samples, indices, self.step - 1, size, self.bad)

    def _counted(self, batches: Iterator[Batch]) -> Iterator[Batch]:
        for batch in batches:
            yield batch
            self.advance(len(batch["input_ids"]))

    def _reduced(self, *numbers: float) -> list[float]:
        return self._sum(torch.tensor(numbers, dtype=torch.float64, device=self.model.device)).tolist()

    def _sum(self, part: Tensor) -> Tensor:
        return self.fabric.all_reduce(part, reduce_op="sum")  # type: ignore[return-value]
