"""The rules of single layers: each is exact, and a parameter without a rule is an error."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from gradient_example import VOCABULARY, check, directions, network, texts
from torch import Tensor, nn

from qurating.lqs.per_sample_gradients import UnsupportedLayerError, norms_and_dots


@pytest.fixture
def float64() -> Iterator[None]:
    """transformers makes constants in the default precision, such as the smallest number that masks attention."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


@pytest.mark.parametrize(
    "settings",
    [
        {"attention_bias": True, "mlp_bias": True},
        {"num_key_value_heads": 1},
        {"num_key_value_heads": 4, "tie_word_embeddings": True},
    ],
)
@pytest.mark.usefixtures("float64")
def test_llama_with_biases_and_shared_heads(settings: dict[str, Any]) -> None:
    check(network("llama", **settings), texts(3, 12), 1e-10)


@pytest.mark.usefixtures("float64")
def test_a_head_with_a_bias_and_torchs_own_rms_norm() -> None:
    model: Any = network("llama")
    model.lm_head.bias = nn.Parameter(torch.randn(VOCABULARY))
    model.model.norm = nn.RMSNorm(32)
    model.model.norm.weight.data.normal_()
    check(model, texts(3, 12), 1e-10)


class Bilinear(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(32, 32))

    def forward(self, x: Tensor) -> Tensor:
        return torch.einsum("btd,de->bte", x, self.weight)


class Opaque(torch.autograd.Function):
    """A kernel that hides from torch what it does with a parameter."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor) -> Tensor:
        ctx.save_for_backward(x, weight)
        return x * weight

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, Tensor]:
        x, weight = ctx.saved_tensors
        return gradients[0] * weight, (gradients[0] * x).sum((0, 1))


class Fused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(32))

    def forward(self, x: Tensor) -> Tensor:
        return Opaque.apply(x, self.weight)


class Twice(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = nn.Linear(32, 32)

    def forward(self, x: Tensor) -> Tensor:
        return self.layer(self.layer(x))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (Bilinear(), r"model.norm.weight is used by .*einsum"),
        (Fused(), "model.norm.weight is used where no rule sees it"),
        (Twice(), "model.norm.layer.* is used by more than one layer"),
    ],
)
def test_a_parameter_without_a_rule_is_an_error(layer: nn.Module, message: str) -> None:
    model: Any = network("llama")
    model.model.norm = layer
    with pytest.raises(UnsupportedLayerError, match=message):
        norms_and_dots(model, texts(2, 8), directions(model))
