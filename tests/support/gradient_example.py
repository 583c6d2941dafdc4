"""Networks and texts, and per-sample gradients by autograd, one sample at a time."""

from pydoc_data import topics
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from qurating.lqs.per_sample_gradients import norms_and_dots

VOCABULARY = 128  # ASCII
SIZES: dict[str, dict[str, Any]] = {
    "llama": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
    "mistral": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64},
    "opt": {
        "hidden_size": 32,
        "ffn_dim": 48,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "word_embed_proj_dim": 16,
    },
    "xglm": {"d_model": 32, "ffn_dim": 48, "num_layers": 2, "attention_heads": 4},
    "gpt_neox": {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4},
}
SIZES["llama"]["num_key_value_heads"] = SIZES["mistral"]["num_key_value_heads"] = 2  # grouped-query attention
SIZES["opt"]["max_position_embeddings"] = SIZES["xglm"]["max_position_embeddings"] = 64


def network(family: str, **settings: Any) -> PreTrainedModel:
    """A small model of a family, in the default precision, whose every parameter matters."""
    special = {"bos_token_id": 0, "eos_token_id": 0, "pad_token_id": 1}
    config = AutoConfig.for_model(family, vocab_size=VOCABULARY, **SIZES[family] | special | settings)
    attention = "eager" if family == "xglm" else "sdpa"
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, attn_implementation=attention)
    model = model.to(torch.get_default_dtype())
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))  # norms are 1 and biases 0 otherwise
    for module in model.modules():
        if type(module).__name__.endswith("RMSNorm"):
            module.forward = rms_norm(module)  # transformers' own computes in float32
    return model


def rms_norm(module: Any) -> Any:
    def forward(x: Tensor) -> Tensor:
        return module.weight * (x * torch.rsqrt(x.square().mean(-1, keepdim=True) + module.variance_epsilon))

    return forward


def texts(num_samples: int, num_tokens: int, padding: str = "right") -> dict[str, Tensor]:
    """Real text as ASCII codes, padded to different lengths, some targets masked."""
    text = "".join(topics.topics.values()).encode("ascii", "replace")
    starts = torch.randint(0, len(text) - num_tokens, (num_samples,)).tolist()
    input_ids = torch.tensor([list(text[start : start + num_tokens]) for start in starts])
    attention_mask = torch.ones_like(input_ids)
    for n in range(num_samples):
        missing = n % 4 if padding != "none" else 0
        padded = slice(num_tokens - missing, None) if padding == "right" else slice(0, missing)
        attention_mask[n, padded] = 0
    input_ids = input_ids.masked_fill(attention_mask == 0, 1)
    labels = input_ids.masked_fill(attention_mask == 0, -100)
    labels[0, 2:5] = -100
    return {"input_ids": input_ids, "attention_mask": attention_mask, "labels": labels}


def directions(model: nn.Module) -> dict[str, Tensor]:
    return {name: torch.randn_like(parameter) for name, parameter in model.named_parameters()}


def one_by_one(model: Any, batch: dict[str, Tensor], direction: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
    """The definition: the gradient of each sample's mean loss by autograd, its norm and dot product in float64."""
    norms, dots = [], []
    names, parameters = zip(*model.named_parameters(), strict=True)
    for n in range(len(batch["labels"])):
        given = {key: batch[key][n : n + 1] for key in ("input_ids", "attention_mask")}
        logits = model(**given, use_cache=False).logits[0, :-1]
        loss = F.cross_entropy(logits, batch["labels"][n, 1:], ignore_index=-100)
        gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
        norms.append(sum((g.double().square().sum() for g in gradients), torch.zeros(())).sqrt())
        pairs = zip(names, gradients, strict=True)
        dots.append(sum(((g.double() * direction[name].double()).sum() for name, g in pairs), torch.zeros(())))
    return torch.stack(norms), torch.stack(dots)


def check(model: Any, batch: dict[str, Tensor], tolerance: float, **options: bool) -> None:
    direction = directions(model)
    model.eval()
    expected_norms, expected_dots = one_by_one(model, batch, direction)
    model.train()  # dropout is off all the same
    norms, dots = norms_and_dots(model, batch, direction, **options)
    assert norms.dtype == dots.dtype == torch.float64
    assert norms.shape == dots.shape == (len(batch["labels"]),)
    assert model.training
    assert all(parameter.grad is None for parameter in model.parameters())
    torch.testing.assert_close(norms, expected_norms.double(), rtol=tolerance, atol=0)
    torch.testing.assert_close(dots, expected_dots.double(), rtol=0, atol=tolerance * float(expected_norms.max()) * 10)
