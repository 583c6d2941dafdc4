"""Learnability-quality scores by optimal control (DELT, arXiv 2506.21545, eq. 8, 9 and 14).

A small language model is trained by plain SGD, θ_{t+1} = θ_t − η ∇L_t(θ_t), t = 0..T−1, with L_t the mean loss of the
step's batch. J(θ) is the mean loss of a target set. The co-state λ_t = ∂/∂θ_t Σ_{s=t}^{T} J(θ_s) says how the
target losses from t on respond to a change of θ_t, and

    λ_T = ∇J(θ_T),    λ_t = λ_{t+1} + ∇J(θ_t) − η ∇²L_t(θ_t) λ_{t+1}                           (eq. 8)
    γ_n = Σ_{t=1}^{T−1} ⟨λ_{t+1}, ∇ℓ(x_n, θ_t)⟩ / ‖∇ℓ(x_n, θ_{t+1})‖                            (eq. 9, 14)

is the score of sample n. A vector in the space of the parameters is a dict from the names of
`model.named_parameters()`, where tied weights come once, to tensors of their shapes.
"""

import functools
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel

from qurating.corpus.labels import NO_TARGET

Vector = dict[str, Tensor]
Batch = Mapping[str, Tensor]
Scores = NDArray[np.float64]

DENOMINATORS = ("next_visited", "next_step", "same_step", "none")

# Fused attention has no double backward, and may add in another order each time; plain attention has neither fault.
plain_attention = functools.partial(sdpa_kernel, SDPBackend.MATH)


def losses(model: nn.Module, batch: Batch, parameters: Mapping[str, Tensor] | None = None) -> Tensor:
    """ℓ(x_n) of each sample: the mean cross-entropy, in nats, over the sample's own targets.

    Args:
        model: a causal language model of transformers, in evaluation mode.
        batch: `input_ids` and `labels`, int64 (B, T), padded on the right with labels of −100. No mask is needed: a
            causal model does not look to the right. Labels are shifted here; each sample needs one after its first
            token.
        parameters: replace the model's own.

    Returns:
        (B,), float32, or float64 if the logits are.
    """
    given = {"input_ids": batch["input_ids"], "use_cache": False}
    out: Any = model(**given) if parameters is None else functional_call(model, dict(parameters), kwargs=given)
    logits = out.logits if out.logits.dtype == torch.float64 else out.logits.float()
    labels = F.pad(batch["labels"][:, 1:], (0, 1), value=NO_TARGET)
    nll = F.cross_entropy(logits.flatten(0, 1), labels.flatten(), ignore_index=NO_TARGET, reduction="none")
    return nll.view(labels.shape).sum(1) / (labels != NO_TARGET).sum(1)


def loss_gradient(model: nn.Module, batches: Iterable[Batch]) -> tuple[float, Vector]:
    """Σ_n ℓ(x_n) over the samples of all batches, and its gradient (zeros without a batch)."""
    parameters = dict(model.named_parameters())
    total, gradient = 0.0, _zeros(parameters)
    for batch in batches:
        by_sample = losses(model, batch)
        _add(gradient, torch.autograd.grad(by_sample.sum(), list(parameters.values()), materialize_grads=True))
        total += by_sample.detach().double().sum().item()
    return total, gradient


def exact_product(model: nn.Module, batches: Iterable[Batch], vector: Vector) -> Vector:
    """Σ_n ∇²ℓ(x_n) v over the samples of all batches, by double backward: the gradient of ⟨∇ℓ, v⟩."""
    parameters = dict(model.named_parameters())
    product = _zeros(parameters)
    with plain_attention():
        for batch in batches:
            loss = losses(model, batch).sum()
            inputs = list(parameters.values())
            first = torch.autograd.grad(loss, inputs, create_graph=True, materialize_grads=True)
            along = torch.stack([(g * vector[name]).sum() for name, g in zip(parameters, first, strict=True)]).sum()
            _add(product, torch.autograd.grad(along, inputs, materialize_grads=True))
    return product


def finite_differences_product(
    model: nn.Module, batches: Iterable[Batch], vector: Vector, scale: float = 1e-4
) -> Vector:
    """Σ_n ∇²ℓ(x_n) v by central differences: (∇ℓ(θ + εv) − ∇ℓ(θ − εv)) / 2ε with ε = scale · ‖θ‖ / ‖v‖.

    In float32 its relative error is about 1e-4; larger steps suffer from curvature, smaller ones from rounding. A
    network with kinks (ReLU, as in OPT) may give a very different result from the exact product, which does not see the
    kinks that the step crosses. The model's own parameters are not changed.
    """
    parameters = {name: parameter.detach() for name, parameter in model.named_parameters()}
    length = norm(vector)
    product = _zeros(parameters)
    if length == 0:
        return product
    step = scale * norm(parameters) / length
    batches = list(batches)
    for side in (step, -step):
        moved = {name: (value + side * vector[name]).requires_grad_() for name, value in parameters.items()}
        for batch in batches:
            loss = losses(model, batch, moved).sum()
            _add(product, torch.autograd.grad(loss, list(moved.values()), materialize_grads=True), 1 / (2 * side))
    return product


def no_product(model: nn.Module, batches: Iterable[Batch], vector: Vector) -> Vector:
    """Zeros: the co-state without its Hessian, λ_t = λ_{t+1} + ∇J(θ_t), for comparison."""
    return _zeros(vector)


HESSIANS: dict[str, Callable[[nn.Module, Iterable[Batch], Vector], Vector]] = {
    "exact": exact_product,
    "finite_differences": finite_differences_product,
    "none": no_product,
}


def costate_increment(target_gradient: Vector, product: Vector | None, learning_rate: float) -> Vector:
    """λ_t − λ_{t+1} = ∇J(θ_t) − η ∇²L_t(θ_t) λ_{t+1} (eq. 8); without a product, at t = T, it is ∇J(θ_T)."""
    if product is None:
        return target_gradient
    return {name: gradient.sub(product[name], alpha=learning_rate) for name, gradient in target_gradient.items()}


def norm(vector: Mapping[str, Tensor]) -> float:
    """The Euclidean norm, summed in float64: long sums in float32 drift."""
    squares = [torch.linalg.vector_norm(part.detach(), dtype=torch.float64) ** 2 for part in vector.values()]
    return torch.stack(squares).sum().sqrt().item()


def is_finite(vector: Mapping[str, Tensor]) -> bool:
    return bool(torch.stack([torch.isfinite(part).all() for part in vector.values()]).all())


def visited_steps(num_steps: int, interval: int) -> list[int]:
    """The t of the score's sum: `interval`, 2 · `interval`, ... ≤ T − 1; interval 1 is all of eq. 9.

    Raises:
        ValueError: the interval visits no step.
    """
    if not 1 <= interval < num_steps:
        raise ValueError(f"an interval of {interval} visits none of the steps 1 to {num_steps - 1}")
    return list(range(interval, num_steps, interval))


def denominator_steps(visited: Sequence[int], num_steps: int, denominator: str) -> list[int]:
    """For each visited step t, the step whose gradient norm divides its term; empty for `none`.

    `next_visited`: the next visited step, and θ_T after the last, so that every term is divided by a norm;
    `next_step`: t + 1, as eq. 9 is written (the same at interval 1); `same_step`: t; `none`: PDS (arXiv 2410.07064).
    """
    return {
        "next_visited": [*visited[1:], num_steps],
        "next_step": [step + 1 for step in visited],
        "same_step": list(visited),
        "none": [],
    }[denominator]


def contributions(dots: Scores, denominators: Scores) -> Scores:
    """γ_n = Σ_t dots[t, n] / denominators[t, n] (eq. 9), in float64.

    The bits do not depend on how the arrays lie in memory.

    Args:
        dots, denominators: (steps, samples), ⟨λ_{t+1}, ∇ℓ(x_n, θ_t)⟩ and the norms that divide them.

    Raises:
        ValueError: shapes that differ. Broadcast against each other, they would mix the scores of different samples.
    """
    if dots.ndim != 2 or dots.shape != denominators.shape:
        raise ValueError(f"dots {dots.shape} and denominators {denominators.shape} are not both (steps, samples)")
    return np.asfortranarray(dots / denominators).sum(axis=0, dtype=np.float64)


def _zeros(like: Mapping[str, Tensor]) -> Vector:
    return {name: torch.zeros_like(part, requires_grad=False) for name, part in like.items()}


def _add(total: Vector, parts: Sequence[Tensor], factor: float = 1.0) -> None:
    for sum_, part in zip(total.values(), parts, strict=True):
        sum_.add_(part, alpha=factor)
