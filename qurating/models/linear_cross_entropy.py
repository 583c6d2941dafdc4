"""The cross-entropy of a linear layer and its gradients, in one pass over parts of the tokens."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from qurating.corpus.labels import NO_TARGET

# Logits held at once. On a CPU 8 MB, about what its caches hold; on a GPU 128 MB, so that its kernels are busy.
MAX_LOGITS_ON_CPU = 2**21
MAX_LOGITS_ON_GPU = 2**25
MIN_TOKENS = 256  # at once: with fewer, products with a large head spend their time reading its weights


def summed_cross_entropy(head: nn.Linear, states: Tensor, targets: Tensor) -> Tensor:
    """Σ −ln p of the targets, but for NO_TARGET, as a float32 scalar to train on.

    The logits z = W h + b exist for some tokens at a time. With them come the gradients ∂L/∂z = softmax(z) − onehot(y),
    ∂L/∂h = Wᵀ ∂L/∂z and ∂L/∂W = Σ ∂L/∂z hᵀ, so that no product is computed twice: the work is that of logits held
    whole. The gradients are kept for the backward pass, which multiplies them by the gradient of the sum.

    Args:
        head: its products are in the type of autocast where that is on, and of the states otherwise; the softmax and
            the gradient of the weights are float32.
        states: (tokens, width).
        targets: (tokens,), int64.
    """
    total: Tensor = _SummedCrossEntropy.apply(states, head.weight, head.bias, targets)
    return total


def tokens_at_once(vocabulary_size: int, device_type: str) -> int:
    """The number of tokens whose logits are held at once."""
    limit = MAX_LOGITS_ON_CPU if device_type == "cpu" else MAX_LOGITS_ON_GPU
    return max(MIN_TOKENS, limit // vocabulary_size)


class _SummedCrossEntropy(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, states: Tensor, weight: Tensor, bias: Tensor | None, targets: Tensor) -> Tensor:
        device = states.device.type
        dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else states.dtype
        of_weight = weight.new_zeros(weight.shape, dtype=torch.float32) if ctx.needs_input_grad[1] else None
        of_bias = None if bias is None else torch.zeros_like(bias, dtype=torch.float32)
        of_states = torch.empty_like(states)
        total = torch.zeros((), dtype=torch.float64, device=states.device)
        with torch.autocast(device, enabled=False):
            weights, biases = weight.to(dtype), None if bias is None else bias.to(dtype)
            size = tokens_at_once(len(weight), device)
            parts = zip(states.split(size), targets.split(size), of_states.split(size), strict=True)
            for part, target, of_part in parts:
                read = part.to(dtype)
                logarithms = F.linear(read, weights, biases).float().log_softmax(dim=-1)
                is_target = (target != NO_TARGET)[:, None]
                index = torch.where(is_target, target[:, None], 0)
                total -= torch.where(is_target, logarithms.gather(1, index), 0.0).sum(dtype=torch.float64)
                of_logits = logarithms.exp_()
                of_logits.scatter_add_(1, index, of_logits.new_full((), -1.0).expand(index.shape))
                of_logits.mul_(is_target)
                if of_bias is not None:
                    of_bias += of_logits.sum(dim=0)
                products = of_logits.to(dtype)
                of_part.copy_(products @ weights)
                if of_weight is not None and dtype is torch.float32:
                    of_weight.addmm_(products.T, read)
                elif of_weight is not None:
                    of_weight += products.T @ read
        ctx.save_for_backward(of_states, of_weight, of_bias)
        ctx.dtypes = weight.dtype, None if bias is None else bias.dtype
        return total.float()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, of_total: Tensor) -> tuple[Tensor | None, ...]:
        of_states, of_weight, of_bias = ctx.saved_tensors
        of_weight = None if of_weight is None else (of_weight * of_total).to(ctx.dtypes[0])
        of_bias = None if of_bias is None else (of_bias * of_total).to(ctx.dtypes[1])
        return of_states * of_total, of_weight, of_bias, None
