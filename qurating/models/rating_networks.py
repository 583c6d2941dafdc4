"""Networks in the form that the rating engine runs: windows of tokens in, ratings out, and no superfluous work.

Each takes right-padded windows, `input_ids` int64 (W, T) and their `lengths` int64 (W,), and returns ratings (W, C) in
float32. The forms of a network are tried on a few padded windows: the fastest is taken that gives the ratings which the
network itself gives to each window alone.
"""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import (
    AutoConfig,
    AutoModelForSequenceClassification,
    AutoTokenizer,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from qurating.artifacts.files import read_json
from qurating.models.networks import check_vocabulary, num_positions
from qurating.runtime.errors import StageError

Network = Callable[[Tensor, Tensor], Tensor]

_PROBE_LENGTHS = (1, 7, 16)
_PROBE_TOLERANCE = 1e-4  # a wrong mask or position errs by far more, another order of sums by far less
# the rotary embeddings that do not depend on the length of the text
_FIXED_ROPE = {"default", "linear", "llama3", "yarn"}


class MaskedRater(nn.Module):
    """Any sequence classifier of transformers, with its own forward pass."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        return self.model(input_ids=input_ids, attention_mask=mask_of(input_ids, lengths)).logits.float()


class LastTokenRater(nn.Module):
    """A causal network: it never sees padding on the right, and needs no mask; the head reads one position."""

    def __init__(self, model: PreTrainedModel) -> None:
        super().__init__()
        self.backbone: Any = model.base_model
        self.head: Any = model.score

    def forward(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        states = self.backbone(input_ids=input_ids, use_cache=False).last_hidden_state
        return self.head(_states_at(states, lengths - 1).to(self.head.weight.dtype)).float()


class LlamaRater(nn.Module):
    """Llama and similar networks: queries, output and MLP of the last layer are computed for the last token alone.

    Args:
        model: a classifier with the layers of Llama.
        max_tokens: of a window.
    """

    cos: Tensor
    sin: Tensor

    def __init__(self, model: PreTrainedModel, max_tokens: int) -> None:
        super().__init__()
        backbone: Any = model.base_model
        self.embedding: Any = backbone.embed_tokens
        self.layers = nn.ModuleList([*backbone.layers[:-1], LastLayer(backbone.layers[-1])])
        self.norm: Any = backbone.norm
        self.head: Any = model.score
        with torch.no_grad():
            positions = torch.arange(max_tokens, device=model.device)[None]
            cos, sin = backbone.rotary_emb(torch.zeros(1, device=model.device), positions)
        self.register_buffer("cos", cos[0], persistent=False)  # (max_tokens, head_dim)
        self.register_buffer("sin", sin[0], persistent=False)

    def forward(self, input_ids: Tensor, lengths: Tensor) -> Tensor:
        width = input_ids.shape[1]
        # copies, (1, T, head_dim): views of a larger tensor would be compiled again for each width
        cos, sin = self.cos[:width].clone()[None], self.sin[:width].clone()[None]
        states = self.embedding(input_ids)
        *layers, last = self.layers
        for layer in layers:
            states = layer(states, attention_mask=None, position_embeddings=(cos, sin))
        return self.head(self.norm(last(states, lengths - 1, cos, sin)).to(self.head.weight.dtype)).float()


class LastLayer(nn.Module):
    """A layer of Llama, of whose output one position of each window is computed."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer: Any = layer

    def forward(self, states: Tensor, last: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
        """The output state (W, d) at the position `last` (W,) of each window, from the input `states` (W, T, d)."""
        layer, attention = self.layer, self.layer.self_attn
        num_windows, width, _ = states.shape
        heads = (num_windows, -1, 1, attention.head_dim)
        normed = layer.input_layernorm(states)
        q = attention.q_proj(_states_at(normed, last)).view(heads)
        k = attention.k_proj(normed).view(num_windows, width, -1, attention.head_dim).transpose(1, 2)
        v = attention.v_proj(normed).view(num_windows, width, -1, attention.head_dim).transpose(1, 2)
        q = _rotated(q, cos[0, last][:, None, None], sin[0, last][:, None, None])
        k = _rotated(k, cos[:, None], sin[:, None])
        seen = torch.arange(width, device=last.device) <= last[:, None]
        grouped = q.shape[1] != k.shape[1]
        read = F.scaled_dot_product_attention(
            q, k, v, attn_mask=seen[:, None, None], scale=attention.scaling, enable_gqa=grouped
        )
        state = _states_at(states, last) + attention.o_proj(read.reshape(num_windows, -1))
        return state + layer.mlp(layer.post_attention_layernorm(state))


def rating_network(model: PreTrainedModel, max_tokens: int) -> nn.Module:
    """The fastest form of a sequence classifier that gives the same ratings.

    Args:
        model: in float32; is put into evaluation mode.
        max_tokens: of a window.

    Raises:
        StageError: padding changes the ratings of the classifier.
    """
    model.eval()
    own = MaskedRater(model)
    if isinstance(getattr(model, "score", None), nn.Linear):
        if _has_llama_layers(model, max_tokens) and same_when_padded(
            llama := LlamaRater(model, max_tokens), own, model
        ):
            return llama
        if same_when_padded(causal := LastTokenRater(model), own, model):
            return causal
    check_padding(own, model)
    return own


def check_padding(own: Network, model: PreTrainedModel) -> None:
    """Raise StageError for a network, in evaluation mode, whose result for a text changes if padding follows it."""
    if not same_when_padded(own, own, model):
        raise StageError(
            f"{model.config.model_type} gives another result for a text when padding follows it, so that texts of "
            "different lengths cannot share a batch: use another architecture"
        )


@torch.no_grad()
def same_when_padded(network: Network, own: Network, model: PreTrainedModel) -> bool:
    """Whether a network gives padded windows what `own` gives each of them alone; `model` has the vocabulary size."""
    config = model.config.get_text_config()
    pad = config.pad_token_id
    known = [token for token in range(1, min(config.vocab_size, 40)) if token != pad]
    lengths = torch.tensor(_PROBE_LENGTHS, device=model.device)
    ids = torch.full((len(lengths), max(_PROBE_LENGTHS) + 2), 0 if pad is None else pad, device=model.device)
    for row, length in enumerate(_PROBE_LENGTHS):
        ids[row, :length] = torch.tensor([known[(5 * row + 3 * i) % len(known)] for i in range(length)])
    alone = [own(ids[row : row + 1, :length], lengths[row : row + 1]) for row, length in enumerate(_PROBE_LENGTHS)]
    expected = torch.cat(alone)
    return torch.allclose(network(ids, lengths), expected, rtol=_PROBE_TOLERANCE, atol=_PROBE_TOLERANCE, equal_nan=True)


def repeated_layers(network: nn.Module) -> list[nn.Module]:
    """The layers that make up most of a network; the whole network if it has no list of layers."""
    lists = [module for module in network.modules() if isinstance(module, nn.ModuleList)]
    return list(max(lists, key=len, default=[network]))


def mask_of(input_ids: Tensor, lengths: Tensor) -> Tensor:
    """The attention mask, int64 (W, T), of windows of these lengths."""
    return (torch.arange(input_ids.shape[1], device=lengths.device) < lengths[:, None]).long()


def _has_llama_layers(model: PreTrainedModel, max_tokens: int) -> bool:
    """Whether a model has the layers of Llama, and they attend to a whole window."""
    config = model.config
    rope = getattr(config, "rope_parameters", None) or {}
    window = getattr(config, "sliding_window", None)
    return (
        config.model_type in {"llama", "mistral", "qwen2"}
        and rope.get("rope_type", "default") in _FIXED_ROPE
        and (window is None or window >= max_tokens)
    )


def _states_at(states: Tensor, positions: Tensor) -> Tensor:
    """The state (W, d) at one position (W,) of each window, of (W, T, d)."""
    return states[torch.arange(len(positions), device=positions.device), positions]


def _rotated(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """Rotary embedding: the halves of each head are the two coordinates (Su et al., as Llama pairs them)."""
    a, b = x.chunk(2, dim=-1)
    return x * cos + torch.cat([-b, a], dim=-1) * sin


class TrainedRater(NamedTuple):
    """A rater in a folder: the criteria of its outputs, in order, its tokenizer, and a function that loads it."""

    criteria: list[str]
    tokenizer: PreTrainedTokenizerBase
    network: Callable[[], PreTrainedModel]


def load_rater(folder: Path, criteria: Sequence[str], max_tokens: int) -> TrainedRater:
    """A rater from a Hugging Face folder, ours or another's (princeton-nlp/QuRater-1.3B); code in it is not run.

    Args:
        criteria: of its outputs, in order, used if the folder has no `criteria.json`.
        max_tokens: of a window that it must read.

    Raises:
        StageError: it cannot be loaded, has no head, another number of outputs than criteria, or too few positions.
    """
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        tokenizer = AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # three libraries raise all kinds of errors for damaged files
        raise StageError(f"{folder} cannot be loaded as a rater: {type(error).__name__}: {error}") from error
    file = folder / "criteria.json"
    named = [str(name) for name in (read_json(file) if file.is_file() else criteria)]
    if config.num_labels != len(named):
        source = f"its {file.name} names" if file.is_file() else "the configuration has"
        raise StageError(
            f"{folder} has {config.num_labels} outputs, and {source} {len(named)} criteria ({', '.join(named)}): "
            "set `criteria` to the criteria of its outputs, in their order "
            "(remove one: ~criterion@criteria.NAME; add one: +criterion@criteria.NAME=NAME)"
        )
    limit = num_positions(config)
    if max_tokens < 1 or (limit is not None and max_tokens > limit):
        raise StageError(f"windows of {max_tokens} tokens: the rater in {folder} reads 1 to {limit or 'any number of'}")

    def network() -> PreTrainedModel:
        try:
            model, loading = AutoModelForSequenceClassification.from_pretrained(
                folder, dtype=torch.float32, trust_remote_code=False, output_loading_info=True
            )
        except Exception as error:  # as above
            raise StageError(f"{folder} cannot be loaded as a rater: {type(error).__name__}: {error}") from error
        if loading["missing_keys"]:
            raise StageError(
                f"{folder} is not a rater: its weights lack {sorted(loading['missing_keys'])[0]} (a language model has "
                "no rating head)"
            )
        check_vocabulary(model, tokenizer, folder)
        return model

    return TrainedRater(named, tokenizer, network)
