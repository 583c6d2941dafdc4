import math

import pytest
import torch

from qurating.metrics.bradley_terry import agreement, confident, loss, tempered


def test_loss_matches_the_formula_pair_by_pair() -> None:
    torch.manual_seed(torch.seed())
    a, b = torch.randn(50, 3, dtype=torch.float64), torch.randn(50, 3, dtype=torch.float64)
    p = torch.rand(50, 3, dtype=torch.float64)
    p[p < 0.2] = torch.nan
    expected, count = 0.0, 0
    for i in range(50):
        for c in range(3):
            if not math.isnan(p[i, c]):
                sigma = 1 / (1 + math.exp(float(a[i, c] - b[i, c])))
                expected -= float(p[i, c]) * math.log(sigma) + (1 - float(p[i, c])) * math.log(1 - sigma)
                count += 1
    assert float(loss(a, b, p)) == pytest.approx(expected / count, rel=1e-5)


def test_loss_is_antisymmetric_and_least_at_the_preference() -> None:
    a, b, p = torch.randn(9), torch.randn(9), torch.rand(9)
    assert torch.allclose(loss(a, b, p), loss(b, a, 1 - p), atol=1e-6)
    best = torch.logit(p)
    zero = torch.zeros(9)
    assert loss(zero, best, p) <= loss(zero, best + 0.1, p)
    assert loss(zero, best, p) <= loss(zero, best - 0.1, p)


def test_loss_without_preferences_is_zero_with_a_gradient() -> None:
    a = torch.zeros(3, requires_grad=True)
    value = loss(a, torch.zeros(3), torch.full((3,), torch.nan))
    value.backward()
    assert value.item() == 0
    assert a.grad is not None
    assert a.grad.abs().sum() == 0


def test_loss_refuses_impossible_preferences() -> None:
    with pytest.raises(ValueError, match="outside"):
        loss(torch.zeros(1), torch.zeros(1), torch.tensor([1.5]))
    with pytest.raises(ValueError, match="shapes differ"):
        loss(torch.zeros(1), torch.zeros(2), torch.zeros(1))


def test_confidence_keeps_the_decided() -> None:
    kept = confident(torch.tensor([0.0, 0.25, 0.3, 0.75, 1.0, math.nan]), 0.5)
    assert torch.isnan(kept).tolist() == [False, False, True, False, False, True]


def test_agreement_counts_ties_half() -> None:
    a, b = torch.tensor([0.0, 0.0, 1.0, 0.0]), torch.tensor([1.0, 1.0, 1.0, 1.0])
    found = agreement(a, b, torch.tensor([0.9, 0.1, 0.9, math.nan]))
    assert found[:3].tolist() == [1.0, 0.0, 0.5]
    assert math.isnan(found[3])


def test_the_label_temperature_divides_log_odds() -> None:
    p = torch.rand(50, 2, dtype=torch.float64)
    for temperature in (0.5, 1.0, 3.0):
        found = tempered(p, temperature)
        power = p ** (1 / temperature)
        assert torch.allclose(found, power / (power + (1 - p) ** (1 / temperature)), atol=1e-12)
        assert torch.equal(found > 0.5, p > 0.5)
    edges = torch.tensor([0.0, 0.5, 1.0, torch.nan])
    assert torch.equal(tempered(edges, 2.0).nan_to_num(7), edges.nan_to_num(7))
    with pytest.raises(ValueError, match="above 0"):
        tempered(p, 0)
