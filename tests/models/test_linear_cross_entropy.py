"""The cross-entropy of a linear layer in parts: the loss and the gradients of logits held whole."""

import pytest
import torch
from torch import Tensor

from qurating.corpus.labels import NO_TARGET
from qurating.models import linear_cross_entropy
from qurating.models.linear_cross_entropy import summed_cross_entropy, tokens_at_once


def drawn(bias: bool = False, dtype: torch.dtype = torch.float32) -> tuple[torch.nn.Linear, Tensor, Tensor]:
    torch.manual_seed(0)
    head = torch.nn.Linear(16, 50, bias=bias, dtype=dtype)
    targets = torch.randint(0, 50, (23,))
    targets[[3, 20, 21, 22]] = NO_TARGET
    return head, torch.randn(23, 16, dtype=dtype, requires_grad=True), targets


def plain(head: torch.nn.Linear, states: Tensor, targets: Tensor) -> Tensor:
    return torch.nn.functional.cross_entropy(head(states).float(), targets, reduction="sum", ignore_index=NO_TARGET)


@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("size", [1, 3, 7, 23, 1000])
def test_the_loss_and_its_gradients_are_those_of_the_whole_logits(
    monkeypatch: pytest.MonkeyPatch, bias: bool, size: int
) -> None:
    monkeypatch.setattr(linear_cross_entropy, "tokens_at_once", lambda *_: size)
    head, states, targets = drawn(bias)
    of = [states, *head.parameters()]
    expected, found = plain(head, states, targets), summed_cross_entropy(head, states, targets)
    assert torch.allclose(found, expected, rtol=1e-6)
    for ours, theirs in zip(torch.autograd.grad(found / 7, of), torch.autograd.grad(expected / 7, of), strict=True):
        assert torch.allclose(ours, theirs, rtol=1e-4, atol=1e-7)


def test_the_gradients_are_those_of_differences() -> None:
    head, states, targets = drawn(bias=True, dtype=torch.float64)
    (gradient,) = torch.autograd.grad(summed_cross_entropy(head, states, targets), states)
    with torch.no_grad():
        direction, step = torch.randn_like(states), 1e-2
        beyond, before = (plain(head, states + sign * step * direction, targets) for sign in (1, -1))
    assert float((gradient * direction).sum()) == pytest.approx(float(beyond - before) / (2 * step), rel=1e-3)


def test_improbable_targets_have_a_finite_loss() -> None:
    head, states, targets = drawn()
    with torch.no_grad():
        head.weight *= 1000
    with torch.no_grad():
        loss, expected = summed_cross_entropy(head, states, targets), plain(head, states, targets)
    assert float(loss) > 1000
    assert float(loss) == pytest.approx(float(expected), rel=1e-6)


def test_no_target_is_no_loss() -> None:
    head, states, _ = drawn()
    loss = summed_cross_entropy(head, states, torch.full((23,), NO_TARGET))
    loss.backward()
    assert float(loss) == 0
    assert states.grad is not None
    assert not states.grad.any()


def test_frozen_weights_get_no_gradient() -> None:
    head, states, targets = drawn()
    head.weight.requires_grad_(False)
    summed_cross_entropy(head, states, targets).backward()
    assert head.weight.grad is None
    assert states.grad is not None


@pytest.mark.parametrize("is_mixed", [True, False])
def test_bfloat16_is_the_same_to_its_digits(is_mixed: bool) -> None:
    head, states, targets = drawn()
    expected = torch.autograd.grad(plain(head, states, targets), [head.weight, states])
    if not is_mixed:
        head, states = head.bfloat16(), states.detach().bfloat16().requires_grad_()
    with torch.autocast("cpu", torch.bfloat16, enabled=is_mixed):
        loss = summed_cross_entropy(head, states, targets)
    found = torch.autograd.grad(loss, [head.weight, states])
    assert loss.dtype is torch.float32
    for ours, theirs, of in zip(found, expected, (head.weight, states), strict=True):
        assert ours.dtype is of.dtype
        assert not torch.equal(ours.float(), theirs)
        assert torch.allclose(ours.float(), theirs, atol=0.02 * float(theirs.abs().max()))


def test_few_logits_are_held_and_never_few_tokens() -> None:
    assert tokens_at_once(2_048, "cpu") == 1_024
    assert tokens_at_once(32_000, "cpu") == linear_cross_entropy.MIN_TOKENS
    assert tokens_at_once(32_000, "cuda") == 1_048
