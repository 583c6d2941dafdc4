"""The co-state against autograd through the unrolled training; products, losses and scores against slow ways."""

from pydoc_data.topics import topics
from typing import Any

import numpy as np
import pytest
import torch
from annotation_example import language_model
from torch import Tensor
from transformers import PreTrainedModel
from transformers.models.llama.modeling_llama import LlamaRMSNorm

from qurating.lqs import optimal_control as oc


def batch(num_samples: int, seed: int) -> dict[str, Tensor]:
    """Real text, one token per byte; the samples have different lengths, and the first has a prompt."""
    text = torch.tensor(list(topics["types"].encode("ascii", "replace")))
    lengths = [5 + (seed + 3 * n) % 6 for n in range(num_samples)]
    ids, labels = (
        torch.zeros(num_samples, max(lengths), dtype=torch.int64),
        torch.full((num_samples, max(lengths)), -100),
    )
    for n, length in enumerate(lengths):
        start = 100 * seed + 13 * n
        ids[n, :length] = labels[n, :length] = text[start : start + length]
    labels[0, :2] = -100
    return {"input_ids": ids, "labels": labels}


class RMSNorm64(torch.nn.Module):
    """Llama's, which rounds to float32 in transformers."""

    def __init__(self, of: LlamaRMSNorm) -> None:
        super().__init__()
        self.weight, self.epsilon = of.weight, of.variance_epsilon

    def forward(self, x: Tensor) -> Tensor:
        return self.weight * x * torch.rsqrt(x.pow(2).mean(-1, keepdim=True) + self.epsilon)


def in_float64(model: PreTrainedModel) -> PreTrainedModel:
    for name, module in list(model.named_modules()):
        if isinstance(module, LlamaRMSNorm):
            model.set_submodule(name, RMSNorm64(module))
    return model.double()


@pytest.mark.parametrize("tied", [False, True])
@pytest.mark.parametrize("model_type", ["gpt2", "llama"])
def test_costates_are_gradients_through_the_unrolled_training(model_type: str, tied: bool) -> None:
    model = in_float64(language_model(model_type, tie_word_embeddings=tied))
    num_steps, rate, samples = 5, 0.2, 3
    steps = [batch(samples, seed) for seed in range(num_steps)]
    target = [batch(2, 7), batch(3, 8)]
    parameters = dict(model.named_parameters())
    states = [{name: p.detach().clone() for name, p in parameters.items()}]
    for step in steps:
        gradient = oc.loss_gradient(model, [step])[1]
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter -= rate * gradient[name] / samples
        states.append({name: p.detach().clone() for name, p in parameters.items()})

    def unrolled(t: int) -> list[Tensor]:
        """∂/∂θ_t Σ_{s=t}^{T} J(θ_s)."""
        leaf = {name: value.clone().requires_grad_() for name, value in states[t].items()}
        state, total = leaf, torch.zeros((), dtype=torch.float64)
        for s in range(t, num_steps + 1):
            total = total + torch.cat([oc.losses(model, part, state) for part in target]).mean()
            if s < num_steps:
                loss = oc.losses(model, steps[s], state).mean()
                slopes = torch.autograd.grad(loss, list(state.values()), create_graph=True)
                moved = [value - rate * slope for value, slope in zip(state.values(), slopes, strict=True)]
                state = dict(zip(state, moved, strict=True))
        return list(torch.autograd.grad(total, list(leaf.values())))

    costate: oc.Vector = {}
    for t in range(num_steps, 0, -1):
        with torch.no_grad():
            for name, parameter in parameters.items():
                parameter.copy_(states[t][name])
        gradient = {name: part / 5 for name, part in oc.loss_gradient(model, target)[1].items()}
        product = None
        if costate:
            product = {name: part / samples for name, part in oc.exact_product(model, [steps[t]], costate).items()}
        increment = oc.costate_increment(gradient, product, rate)
        costate = {name: part + costate[name] if costate else part for name, part in increment.items()}
        with oc.plain_attention():
            expected = unrolled(t)
        for part, reference in zip(costate.values(), expected, strict=True):
            assert torch.allclose(part, reference, rtol=1e-9, atol=1e-9 * oc.norm(costate))


def test_a_loss_is_the_mean_over_the_samples_own_targets() -> None:
    model = language_model()
    together = batch(4, 1)
    found = oc.losses(model, together)
    for n in range(4):
        length = int((together["labels"][n] != -100).nonzero().max()) + 1
        alone = {key: value[n : n + 1, :length] for key, value in together.items()}
        assert found[n].item() == pytest.approx(model(**alone).loss.item(), rel=1e-5)


def test_gradients_add_up_over_batches_and_none_is_zero() -> None:
    model = language_model()
    parts = [batch(2, 1), batch(3, 2)]
    loss, gradient = oc.loss_gradient(model, parts)
    total = torch.cat([oc.losses(model, part) for part in parts]).sum()
    expected = torch.autograd.grad(total, list(model.parameters()))
    assert loss == pytest.approx(total.item())
    for part, reference in zip(gradient.values(), expected, strict=True):
        assert torch.allclose(part, reference, atol=1e-5)
    loss, gradient = oc.loss_gradient(model, [])
    assert loss == 0
    assert oc.norm(gradient) == 0


def test_finite_differences_are_near_the_exact_product() -> None:
    model = language_model()
    before = {name: parameter.detach().clone() for name, parameter in model.named_parameters()}
    vector = {name: torch.randn_like(parameter) for name, parameter in before.items()}
    batches = [batch(2, 3), batch(2, 4)]
    exact = oc.exact_product(model, batches, vector)
    near = oc.finite_differences_product(model, batches, vector)
    difference = {name: near[name] - exact[name] for name in exact}
    assert 0 < oc.norm(difference) < 5e-3 * oc.norm(exact)
    for name, parameter in model.named_parameters():
        assert torch.equal(parameter, before[name])
        assert parameter.grad is None
    nothing = {name: torch.zeros_like(part) for name, part in vector.items()}
    assert oc.norm(oc.finite_differences_product(model, batches, nothing)) == 0
    assert oc.norm(oc.no_product(model, batches, vector)) == 0


def test_norms_do_not_drift() -> None:
    vector = {"a": torch.full((3_000_000,), 0.1), "b": torch.full((2,), -5.0)}
    assert oc.norm(vector) == pytest.approx((3_000_000 * float(torch.tensor(0.1)) ** 2 + 50) ** 0.5, rel=1e-10)


def test_one_value_that_is_not_finite_is_found() -> None:
    vector = {"a": torch.ones(3, 2), "b": torch.ones(2)}
    assert oc.is_finite(vector)
    vector["a"][2, 1] = float("inf")
    assert not oc.is_finite(vector)


@pytest.mark.parametrize(
    ("num_steps", "interval", "denominator", "expected"),
    [
        (100, 10, "next_visited", {10: 20, 20: 30, 30: 40, 40: 50, 50: 60, 60: 70, 70: 80, 80: 90, 90: 100}),
        (7, 3, "next_visited", {3: 6, 6: 7}),
        (7, 3, "next_step", {3: 4, 6: 7}),
        (7, 3, "same_step", {3: 3, 6: 6}),
        (4, 1, "next_visited", {1: 2, 2: 3, 3: 4}),
        (4, 1, "next_step", {1: 2, 2: 3, 3: 4}),
    ],
)
def test_each_term_has_its_denominators_step(
    num_steps: int, interval: int, denominator: str, expected: dict[int, int]
) -> None:
    visited = oc.visited_steps(num_steps, interval)
    steps = oc.denominator_steps(visited, num_steps, denominator)
    assert dict(zip(visited, steps, strict=True)) == expected
    assert oc.denominator_steps(visited, num_steps, "none") == []


@pytest.mark.parametrize("interval", [0, -1, 5, 6])
def test_an_interval_that_visits_nothing_is_refused(interval: int) -> None:
    with pytest.raises(ValueError, match="visits none of the steps 1 to 4"):
        oc.visited_steps(5, interval)


def test_a_score_is_a_sum_of_the_samples_own_terms() -> None:
    draw = np.random.default_rng(0)
    dots, norms = draw.normal(size=(3, 5)), draw.uniform(0.5, 2, size=(3, 5))
    expected = [sum(dots[t, n] / norms[t, n] for t in range(3)) for n in range(5)]
    assert oc.contributions(dots, norms) == pytest.approx(expected, rel=1e-12)


def test_how_arrays_lie_in_memory_changes_no_bit_of_a_score() -> None:
    draw = np.random.default_rng(0)
    dots, norms = draw.normal(size=(100, 50)), draw.uniform(0.5, 2, size=(100, 50))
    expected = oc.contributions(dots, norms)
    assert np.array_equal(oc.contributions(np.asfortranarray(dots), np.asfortranarray(norms)), expected)
    assert np.array_equal(oc.contributions(np.asfortranarray(dots), norms), expected)


@pytest.mark.parametrize("shape", [(5, 5, 1), (5, 1), (1, 5), (5,)])
def test_shapes_that_would_mix_samples_are_refused(shape: Any) -> None:
    """The released annotation divides (B,) by (B, 1), and so sums a B × B matrix."""
    with pytest.raises(ValueError, match=r"are not both \(steps, samples\)"):
        oc.contributions(np.ones((5, 5)), np.ones(shape))
    with pytest.raises(ValueError, match=r"are not both \(steps, samples\)"):
        oc.contributions(np.ones(5), np.ones(5))
