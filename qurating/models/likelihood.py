"""Likelihoods of tokens under a causal language model, without holding the logits of all tokens at once."""

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import PreTrainedModel

# logits held at once: 2^25 float32, 128 MB, which is 1024 tokens of a vocabulary of 32,000
MAX_LOGITS = 2**25


class WindowPerplexity(nn.Module):
    """Log-perplexity of windows, in nats per token, as a network of the rating engine (see `rating_networks`).

    Each window is read after one token that begins or ends texts, so that all tokens of the window are predicted.

    Args:
        model: a causal language model whose logits are one linear layer of its states.
        begin_token_id: the token before each window.
    """

    def __init__(self, model: PreTrainedModel, begin_token_id: int) -> None:
        super().__init__()
        self.model = model
        self.begin_token_id = begin_token_id

    def forward(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        """(1/T) Σ_t −ln p(x_t | begin, x_<t) of each window, (W, 1), float32, of right-padded `input_ids` (W, T)."""
        begin = torch.full_like(input_ids[:, :1], self.begin_token_id)
        # no attention mask: padding is on the right, where a causal model never looks
        read = torch.cat([begin, input_ids[:, :-1]], dim=1)
        states = self.model.base_model(input_ids=read, use_cache=False).last_hidden_state
        is_token = torch.arange(input_ids.shape[1], device=lengths.device) < lengths[:, None]
        losses = torch.zeros(input_ids.shape, dtype=torch.float64, device=input_ids.device)
        losses[is_token] = cross_entropies(output_layer(self.model), states[is_token], input_ids[is_token]).double()
        return (losses.sum(dim=1) / lengths)[:, None].float()


def cross_entropies(head: nn.Module, states: Tensor, targets: Tensor) -> Tensor:
    """−ln p of each target, (tokens,) float32, with at most MAX_LOGITS logits at a time."""
    step = max(1, MAX_LOGITS // int(head.weight.shape[0]))  # type: ignore[index]
    return torch.cat(
        [
            F.cross_entropy(head(part).float(), target, reduction="none")
            for part, target in zip(states.split(step), targets.split(step), strict=True)
        ]
    )


@torch.no_grad()
def has_plain_loss(model: PreTrainedModel) -> bool:
    """Whether a model's loss is the mean cross-entropy of one linear layer of its states, and nothing is added to it.

    Mixtures of experts may add losses of their routers, others cap their logits.
    """
    probe = torch.arange(min(8, model.config.vocab_size), device=model.device)[None]
    was_training = model.training
    model.eval()
    with torch.autocast(probe.device.type, enabled=False):
        expected = model(input_ids=probe, labels=probe, use_cache=False).loss
        states = model.base_model(input_ids=probe, use_cache=False).last_hidden_state[0, :-1]
        head = model.get_output_embeddings()
        got = cross_entropies(head, states, probe[0, 1:]).mean() if isinstance(head, nn.Linear) else expected + 1
    model.train(was_training)
    return bool(torch.allclose(got.float(), expected.float(), rtol=2e-5, atol=0.0))


def output_layer(model: PreTrainedModel) -> nn.Module:
    """The layer that computes the logits; raises ValueError if the model has none."""
    head = model.get_output_embeddings()
    if not isinstance(head, nn.Module):
        raise ValueError(f"{model.config.model_type} has no layer that computes logits")
    return head


@torch.no_grad()
def check_output_layer(model: PreTrainedModel) -> None:
    """Raise ValueError if a model's logits are not one linear layer of its last states."""
    probe = torch.arange(min(8, model.config.vocab_size), device=model.device)[None]
    expected = model(input_ids=probe, use_cache=False).logits.float()
    got = output_layer(model)(model.base_model(input_ids=probe, use_cache=False).last_hidden_state).float()
    if got.shape != expected.shape or not torch.allclose(got, expected, rtol=1e-3, atol=1e-3):
        raise ValueError(
            f"{model.config.model_type} computes its logits by more than one linear layer of its states, and the "
            "likelihoods are computed by that layer alone"
        )


@torch.inference_mode()
def check_causal(model: PreTrainedModel) -> None:
    """Raise ValueError if a model's states depend on later tokens, as those of masked language models do."""
    probe = torch.arange(min(8, model.config.vocab_size), device=model.device)[None]
    half = probe.shape[1] // 2
    changed = probe.clone()
    # all of them, not just the last: some models take one of the ids for padding, and ignore it at the end
    changed[:, half:] = 0
    before, after = (
        model.base_model(input_ids=ids, use_cache=False).last_hidden_state[:, :half].float() for ids in (probe, changed)
    )
    if not torch.allclose(before, after, rtol=1e-3, atol=1e-3):
        raise ValueError(f"{model.config.model_type} sees the tokens that it must predict: it is not a causal model")
