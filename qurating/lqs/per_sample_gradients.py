"""Norms and dot products of per-sample gradients, without the gradients: one ordinary forward and backward pass.

`gradient_rules` has the rules of the layers; the head and its cross-entropy are computed here, so that the logits of a
batch never exist. This covers Llama, Mistral, GPT-2, GPT-NeoX, OPT, XGLM and every model built of the same parts. A
parameter that is used in a way without a rule is an error, never left out.
"""

import contextlib
import functools
import weakref
from collections.abc import Iterator, Mapping

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint
from transformers import PreTrainedModel
from transformers.modeling_layers import GradientCheckpointingLayer

from qurating.corpus.labels import NO_TARGET
from qurating.lqs.gradient_rules import Sums, UnsupportedLayerError, full

__all__ = ["UnsupportedLayerError", "norms_and_dots"]


_LOGITS = 2**23  # held at a time


def norms_and_dots(
    model: PreTrainedModel,
    batch: Mapping[str, Tensor],
    direction: Mapping[str, Tensor],
    *,
    layer_checkpointing: bool = False,
) -> tuple[Tensor, Tensor]:
    """‖∇ℓ(x_n)‖ and ⟨∇ℓ(x_n), direction⟩ of each sample of a batch, over all parameters.

    ℓ(x_n) is the mean cross-entropy, in nats, over the sample's own targets. Dropout is off, whatever the model's mode.
    Runs in the model's precision, or in that of an autocast context around the call; sums are in float32 within a row
    of a matrix, else in float64. A gradient that is not finite gives NaN or infinity for its own sample alone.

    Args:
        model: a causal language model whose logits are one linear layer on its last hidden states.
        batch: `input_ids`, `attention_mask`, `labels`, int64 (B, T), by the convention of transformers: label −100 is
            no target, and a token is predicted from those before it. Padding is cheapest on the right.
        direction: for each of `model.named_parameters()` a tensor of the same shape, on the model's device.
        layer_checkpointing: keep only the inputs of each layer, and compute the layer a second time: a third slower, in
            a fraction of the memory.

    Returns:
        norms and dots, float64 (B,), on the model's device.

    Raises:
        UnsupportedLayerError: a parameter without a rule, or logits that are not one linear layer.
        ValueError: a sample without a target, or a direction that does not fit the parameters.
    """
    input_ids, labels = batch["input_ids"], batch["labels"]
    targets = labels[:, 1:] != NO_TARGET
    without = (~targets.any(dim=1)).nonzero().flatten().tolist()
    if without:
        raise ValueError(f"sample {without[0]} of the batch has no target: its mean loss is 0/0")
    sums = Sums(model, direction, *input_ids.shape)
    with _prepared(model, sums, layer_checkpointing):
        head = _head(model, input_ids.device)
        is_tied = head.weight is model.get_input_embeddings().weight
        mask = _needed_mask(batch["attention_mask"], targets)
        with sums:
            hidden = model.base_model(input_ids=input_ids, attention_mask=mask, use_cache=False).last_hidden_state
        upstream = _head_backward(sums, head, is_tied, hidden.detach(), input_ids, labels, targets)
        leaked = torch.autograd.grad(hidden, [sums.origin, *model.parameters()], upstream, allow_unused=True)[1:]
    for name, gradient in zip(sums.names.values(), leaked, strict=True):
        if gradient is not None:  # it bypassed the mode, as a fused kernel can
            raise UnsupportedLayerError(f"{name} is used where no rule sees it (a fused kernel?)")
    return sums.squares.sqrt(), sums.dots


def _head_backward(
    sums: Sums, head: nn.Module, is_tied: bool, hidden: Tensor, input_ids: Tensor, labels: Tensor, targets: Tensor
) -> Tensor:
    """The gradient of Σ_n ℓ(x_n) by the hidden states (B, T, d), with the head's own share added to the sums.

    With P = (softmax − onehot) / targets, (targets, V): ∂H = P W and ∂W = Pᵀ H. Computed sample by sample, and in parts
    for a sample of many targets, so that the logits of a whole batch never exist.
    """
    weight, bias = head.weight, getattr(head, "bias", None)
    assert isinstance(weight, Tensor)
    weight_name, bias_name = sums.names[id(weight)], sums.name(bias)
    for name in (weight_name, bias_name):
        if name and not (is_tied and name == weight_name):  # the embedding claims a tied weight
            sums.claim(name)
    device = hidden.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else hidden.dtype
    matrix = weight.detach().to(dtype)
    upstream = torch.zeros_like(hidden)
    for n in range(len(hidden)):
        places = targets[n].nonzero().flatten()
        gradient = torch.zeros_like(weight, dtype=full(matrix).dtype)
        of_bias = torch.zeros(1, len(weight), dtype=torch.float64, device=hidden.device)
        for part in places.split(max(1, _LOGITS // len(weight))):
            states = hidden[n, part].to(dtype)
            p = full(F.linear(states, matrix, None if bias is None else bias.detach().to(dtype))).softmax(dim=-1)
            p[torch.arange(len(part), device=p.device), labels[n, part + 1]] -= 1
            p /= len(places)
            if bias_name:
                of_bias += p.sum(0, dtype=torch.float64)
            p = p.to(dtype)
            upstream[n, part] = (p @ matrix).to(upstream.dtype)
            if p.dtype == gradient.dtype:
                gradient.addmm_(p.t(), states)
            else:
                gradient += p.t() @ states
        sums.add(weight_name, slice(n, n + 1), gradient[None])
        if bias_name:
            sums.add(bias_name, slice(n, n + 1), of_bias)
        if is_tied:
            sums.tied_rows.setdefault(weight_name, []).append(gradient[input_ids[n]])
    return upstream


def _needed_mask(attention_mask: Tensor, targets: Tensor) -> Tensor | None:
    """None, which allows the fast kernels, if causal attention alone hides the padding from every target.

    It does so if no padding comes before a token, and no padding predicts a target.
    """
    attended = attention_mask.bool()
    on_the_right = (attended[:, :-1] | ~attended[:, 1:]).all()
    return None if bool(on_the_right & ~(targets & ~attended[:, :-1]).any()) else attention_mask


_known_heads: "weakref.WeakSet[nn.Module]" = weakref.WeakSet()


@torch.no_grad()
def _head(model: PreTrainedModel, device: torch.device) -> nn.Module:
    """The linear layer that computes the logits; raises UnsupportedLayerError for more than one layer."""
    head = model.get_output_embeddings()
    if head is None or not isinstance(getattr(head, "weight", None), nn.Parameter):
        raise UnsupportedLayerError(f"{type(model).__name__} has no linear layer that computes its logits")
    if model not in _known_heads:
        probe = torch.arange(min(8, len(head.weight)), device=device)[None]
        expected = full(model(input_ids=probe, use_cache=False).logits)
        got = full(head(model.base_model(input_ids=probe, use_cache=False).last_hidden_state))
        if not torch.allclose(got, expected, rtol=1e-2, atol=1e-2, equal_nan=True):
            raise UnsupportedLayerError(f"{type(model).__name__} does more to its logits than one linear layer")
        _known_heads.add(model)
    return head


@contextlib.contextmanager
def _prepared(model: PreTrainedModel, sums: Sums, layer_checkpointing: bool) -> Iterator[None]:
    """The model without dropout, with every parameter in the graph, and with its layers recomputed on request."""
    training = [module for module in model.modules() if module.training]
    frozen = [parameter for parameter in model.parameters() if not parameter.requires_grad]
    layers = [m for m in model.modules() if isinstance(m, GradientCheckpointingLayer)] if layer_checkpointing else []
    try:
        model.eval()
        for parameter in frozen:
            parameter.requires_grad_(True)  # then a parameter that no rule sees gets a gradient, and is reported
        for layer in layers:
            # the rules apply in the second forward pass, too
            layer.forward = functools.partial(
                checkpoint,
                layer.forward,
                use_reentrant=False,
                preserve_rng_state=False,
                context_fn=lambda: (contextlib.nullcontext(), sums),
            )
        yield
    finally:
        for layer in layers:
            del layer.forward
        for parameter in frozen:
            parameter.requires_grad_(False)
        for module in training:
            module.training = True
