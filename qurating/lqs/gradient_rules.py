"""Rules for per-sample gradients: each replaces a function that uses a parameter.

`Sums` is a torch-function mode. It intercepts every torch function that is given a parameter, and replaces it by an
autograd function. In the backward pass that function returns the gradient of its input, and adds the contribution of
the parameter's gradient of each sample to two sums, ‖∇ℓ(x_n)‖² and ⟨∇ℓ(x_n), direction⟩. The gradient of one sample and
one layer exists only for a moment, at the point where a training step would compute the weight's gradient, and at the
same cost.

The rules depend on how a parameter is used, not on the class of a module: matrix product, embedding, products and sums
with a vector (norms, biases).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd import Function
from torch.overrides import TorchFunctionMode

# Elements of a temporary tensor. On a CPU a product that fits the cache is faster than a large batch of products.
_CPU_ELEMENTS = 2**20
_GPU_ELEMENTS = 2**27


class UnsupportedLayerError(ValueError):
    """A parameter is used in a way that no rule covers."""


class Sums(TorchFunctionMode):
    """Replaces the functions that use a parameter by their rules, and holds the sums of each sample."""

    def __init__(self, model: nn.Module, direction: Mapping[str, Tensor], num_samples: int, num_tokens: int) -> None:
        super().__init__()
        self.names = {id(parameter): name for name, parameter in model.named_parameters()}
        for name, parameter in model.named_parameters():
            if name not in direction or direction[name].shape != parameter.shape:
                found = f"shape {tuple(direction[name].shape)}" if name in direction else "none"
                raise ValueError(f"the direction needs a tensor of shape {tuple(parameter.shape)} for {name}: {found}")
        self.direction = direction
        self.num_samples, self.num_tokens = num_samples, num_tokens
        device = next(model.parameters()).device
        self.squares = torch.zeros(num_samples, dtype=torch.float64, device=device)
        self.dots = torch.zeros(num_samples, dtype=torch.float64, device=device)
        # the embeddings depend on it, so that the backward pass reaches them
        self.origin = torch.zeros((), device=device, requires_grad=True)
        # (T, d) of each sample: rows of the head's gradient at the input tokens, where head and embedding are tied
        self.tied_rows: dict[str, list[Tensor]] = {}
        self.claimed: set[str] = set()

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: Sequence[Any] = (), kwargs: Any = None
    ) -> Any:
        kwargs = kwargs or {}
        names = [name for value in (*args, *kwargs.values()) if (name := self.name(value))]
        if not names:
            return func(*args, **kwargs)
        rule = _RULES.get(func)
        out = rule(self, *args, **kwargs) if rule else func(*args, **kwargs)
        if out is NotImplemented or (rule is None and isinstance(out, Tensor) and out.requires_grad):
            shapes = [tuple(value.shape) for value in (*args, *kwargs.values()) if isinstance(value, Tensor)]
            called = getattr(func, "__qualname__", func)
            raise UnsupportedLayerError(f"{names[0]} is used by {called} on shapes {shapes}, which no rule covers")
        return out

    def name(self, value: Any) -> str | None:
        """The name of a parameter; None for anything else."""
        return self.names.get(id(value))

    def claim(self, name: str) -> None:
        """Mark a parameter's gradient as added; raises UnsupportedLayerError for a second use, whose cross term has no
        rule."""
        if name in self.claimed:
            raise UnsupportedLayerError(f"{name} is used by more than one layer, which no rule covers")
        self.claimed.add(name)

    def by_sample(self, value: Tensor) -> Tensor:
        """(B, T, d) or (B · T, d) as (B, tokens, d)."""
        if value.shape[0] == self.num_samples or value.numel() == self.num_samples * self.num_tokens * value.shape[-1]:
            return value.reshape(self.num_samples, -1, value.shape[-1])
        raise UnsupportedLayerError(f"a layer sees its tokens in shape {tuple(value.shape)}, not sample by sample")

    def add(self, name: str, samples: slice, gradient: Tensor) -> None:
        """Add the gradients (samples, *shape) of one parameter to the sums.

        Each row is reduced in float32, the rows in float64: long sums in float32 drift, by 1e-3 and more on a CPU.
        """
        rows = gradient.reshape(len(gradient), -1, gradient.shape[-1])
        direction = self.direction[name].reshape(-1, gradient.shape[-1])
        step = max(1, _elements(gradient) // gradient.shape[-1] // len(gradient))
        for start in range(0, rows.shape[1], step):
            part = full(rows[:, start : start + step])
            self.squares[samples] += torch.linalg.vecdot(part, part).double().sum(1)
            self.dots[samples] += torch.linalg.vecdot(part, direction[start : start + step]).double().sum(1)

    def add_product(self, name: str, left: Tensor, right: Tensor) -> None:
        """The gradient leftᵀ right of a matrix (o, i), from (B, T, o) and (B, T, i); a few samples at a time."""
        self.claim(name)
        size = left.shape[-1] * right.shape[-1]
        step = max(1, _elements(left) // size)
        left = left.transpose(1, 2)
        for start in range(0, self.num_samples, step):
            samples = slice(start, start + step)
            self.add(name, samples, torch.bmm(left[samples], right[samples]))

    def add_vector(self, name: str, gradient: Tensor) -> None:
        """The gradient of a vector, summed over the tokens: `gradient` is (B, T, d) or (B · T, d)."""
        self.claim(name)
        self.add(name, slice(None), full(self.by_sample(gradient)).sum(1)[:, None])


class _Linear(Function):
    """x Wᵀ + b. The gradient of W is Σ_t g_t x_tᵀ, of b Σ_t g_t."""

    @staticmethod
    def forward(
        ctx: Any,
        x: Tensor,
        weight: Tensor,
        bias: Tensor | None,
        sums: Sums,
        weight_name: str | None,
        bias_name: str | None,
        is_transposed: bool,
    ) -> Tensor:
        y = F.linear(x, weight, bias)
        ctx.save_for_backward(x.to(y.dtype))
        ctx.weight, ctx.dtype = weight, x.dtype
        ctx.sums, ctx.weight_name, ctx.bias_name, ctx.is_transposed = sums, weight_name, bias_name, is_transposed
        return y

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (g,), (x,) = gradients, ctx.saved_tensors
        sums: Sums = ctx.sums
        if ctx.weight_name is not None:
            left, right = sums.by_sample(g), sums.by_sample(x)
            sums.add_product(ctx.weight_name, *((right, left) if ctx.is_transposed else (left, right)))
        if ctx.bias_name is not None:
            sums.add_vector(ctx.bias_name, g)
        return (g @ ctx.weight.to(g.dtype)).to(ctx.dtype), *[None] * 6


class _Scale(Function):
    """w ⊙ x with a vector w, as in the norms. The gradient of w is Σ_t g_t ⊙ x_t."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, weight: Tensor, sums: Sums, name: str) -> Tensor:
        ctx.save_for_backward(x)
        ctx.weight, ctx.sums, ctx.name = weight, sums, name
        return weight * x

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        (g,), (x,) = gradients, ctx.saved_tensors
        ctx.sums.add_vector(ctx.name, full(g) * x)
        return (g * ctx.weight).to(x.dtype), None, None, None


class _Shift(Function):
    """x + b with a vector b. The gradient of b is Σ_t g_t."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, bias: Tensor, sums: Sums, name: str) -> Tensor:
        ctx.sums, ctx.name, ctx.dtype = sums, name, x.dtype
        return x + bias

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        ctx.sums.add_vector(ctx.name, gradients[0])
        return gradients[0].to(ctx.dtype), None, None, None


class _Embedding(Function):
    """Rows E[x_t]. The gradient of a row is the sum of g_t over the positions that read it.

    Tied to the head, whose gradient is M: ‖M + dE‖² = ‖M‖² + ‖dE‖² + 2 Σ_t ⟨g_t, M[x_t]⟩; dot products add.
    """

    @staticmethod
    def forward(
        ctx: Any, origin: Tensor, weight: Tensor, ids: Tensor, padding_idx: int | None, sums: Sums, name: str
    ) -> Tensor:
        ctx.sums, ctx.name, ctx.ids, ctx.padding_idx = sums, name, ids, padding_idx
        return F.embedding(ids, weight)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> Any:
        sums: Sums = ctx.sums
        sums.claim(ctx.name)
        direction, tied = sums.direction[ctx.name], sums.tied_rows.get(ctx.name)
        g = full(gradients[0])
        if ctx.padding_idx is not None:  # that row is not trained
            g = g.masked_fill((ctx.ids == ctx.padding_idx)[..., None], 0)
        for n, (ids, rows) in enumerate(zip(ctx.ids, g, strict=True)):
            distinct, positions = ids.unique(return_inverse=True)
            summed = torch.zeros(len(distinct), rows.shape[-1], dtype=g.dtype, device=g.device)
            summed.index_add_(0, positions, rows)
            sums.squares[n] += torch.linalg.vecdot(summed, summed).double().sum()
            sums.dots[n] += torch.linalg.vecdot(summed, direction[distinct].to(g.dtype)).double().sum()
            if tied is not None:
                sums.squares[n] += 2 * torch.linalg.vecdot(rows, tied[n].to(g.dtype)).double().sum()
        return torch.zeros_like(sums.origin), *[None] * 5


# The rules of the functions that may be given a parameter; NotImplemented for a use that the rule does not cover.
def _linear(sums: Sums, x: Tensor, weight: Tensor, bias: Tensor | None = None) -> Any:
    names = sums.name(weight), sums.name(bias)
    return _Linear.apply(x, weight.detach(), None if bias is None else bias.detach(), sums, *names, False)


def _addmm(sums: Sums, bias: Tensor, x: Tensor, weight: Tensor, *, beta: float = 1, alpha: float = 1) -> Any:
    """GPT-2's layer, whose weight is (in, out)."""
    if beta != 1 or alpha != 1 or sums.name(x):
        return NotImplemented
    names = sums.name(weight), sums.name(bias)
    return _Linear.apply(x, weight.detach().t(), bias.detach(), sums, *names, True)


def _embedding(
    sums: Sums,
    ids: Tensor,
    weight: Tensor,
    padding_idx: int | None = None,
    max_norm: float | None = None,
    norm_type: float = 2.0,
    scale_grad_by_freq: bool = False,
    sparse: bool = False,
) -> Any:
    if max_norm is not None or scale_grad_by_freq or sparse:
        return NotImplemented
    if ids.ndim == 1 or ids.shape[0] == 1:  # positions: the same for all samples, a gradient for each
        ids = ids.expand(sums.num_samples, -1)
    if padding_idx is not None:
        padding_idx %= len(weight)
    return _Embedding.apply(sums.origin, weight.detach(), ids, padding_idx, sums, sums.name(weight))


def _mul(sums: Sums, one: Any, other: Any) -> Any:
    weight, x = (one, other) if sums.name(one) else (other, one)
    if not isinstance(x, Tensor) or weight.ndim != 1 or x.shape[-1] != len(weight) or sums.name(x):
        return NotImplemented
    return _Scale.apply(x, weight.detach(), sums, sums.name(weight))


def _layer_norm(
    sums: Sums,
    x: Tensor,
    normalized_shape: Sequence[int],
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    eps: float = 1e-5,
) -> Any:
    if len(normalized_shape) != 1:
        return NotImplemented
    y = F.layer_norm(x, normalized_shape, None, None, eps)
    if weight is not None:
        y = _Scale.apply(y, weight.detach(), sums, sums.name(weight))
    return y if bias is None else _Shift.apply(y, bias.detach(), sums, sums.name(bias))


def _rms_norm(
    sums: Sums, x: Tensor, normalized_shape: Sequence[int], weight: Tensor | None = None, eps: float | None = None
) -> Any:
    if len(normalized_shape) != 1 or weight is None:
        return NotImplemented
    return _Scale.apply(F.rms_norm(x, normalized_shape, None, eps), weight.detach(), sums, sums.name(weight))


_RULES: dict[Any, Callable[..., Any]] = {
    F.linear: _linear,
    torch.addmm: _addmm,
    F.embedding: _embedding,
    torch.mul: _mul,
    Tensor.mul: _mul,
    Tensor.__mul__: _mul,
    Tensor.__rmul__: _mul,
    F.layer_norm: _layer_norm,
    F.rms_norm: _rms_norm,
}


def full(value: Tensor) -> Tensor:
    """The value in at least float32: sums are never computed in half precision."""
    return value.float() if value.dtype in (torch.bfloat16, torch.float16) else value


def _elements(value: Tensor) -> int:
    return _CPU_ELEMENTS if value.device.type == "cpu" else _GPU_ELEMENTS
