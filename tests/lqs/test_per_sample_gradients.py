"""Per-sample norms and dot products against autograd, one sample at a time, in float64."""

from collections.abc import Iterator
from pydoc_data import topics
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedModel

from qurating.lqs.per_sample_gradients import UnsupportedLayerError, norms_and_dots

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


@pytest.fixture
def float64() -> Iterator[None]:
    """transformers makes constants in the default precision, such as the smallest number that masks attention."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


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


@pytest.mark.parametrize("padding", ["right", "left", "none"])
@pytest.mark.parametrize("tied", [True, False])
@pytest.mark.parametrize("family", SIZES)
@pytest.mark.usefixtures("float64")
def test_every_family_is_exact(family: str, tied: bool, padding: str) -> None:
    check(network(family, tie_word_embeddings=tied), texts(5, 12, padding), 1e-10)


@pytest.mark.parametrize("family", SIZES)
@pytest.mark.usefixtures("float64")
def test_recomputed_layers_change_nothing(family: str) -> None:
    check(network(family), texts(3, 12), 1e-10, layer_checkpointing=True)


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


@pytest.mark.usefixtures("float64")
def test_many_logits_are_done_a_part_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("qurating.lqs.per_sample_gradients._LOGITS", 5 * VOCABULARY)
    monkeypatch.setattr("qurating.lqs.gradient_rules._CPU_ELEMENTS", 300)
    check(network("gpt2"), texts(3, 14), 1e-10)


@pytest.mark.usefixtures("float64")
def test_a_frozen_parameter_counts_like_any_other() -> None:
    model = network("llama")
    batch, direction = texts(2, 10), directions(model)
    expected = norms_and_dots(model, batch, direction)
    model.requires_grad_(False)
    frozen = norms_and_dots(model, batch, direction)
    assert torch.equal(torch.stack(expected), torch.stack(frozen))
    assert not any(parameter.requires_grad for parameter in model.parameters())


def test_float32_is_close_to_float64(float64: None) -> None:
    exact = network("llama", hidden_size=64, intermediate_size=256)
    batch, direction = texts(4, 48), directions(exact)
    expected_norms, expected_dots = one_by_one(exact, batch, direction)
    torch.set_default_dtype(torch.float32)
    model = network("llama", hidden_size=64, intermediate_size=256)
    model.load_state_dict(exact.state_dict())
    norms, dots = norms_and_dots(model, batch, {name: value.float() for name, value in direction.items()})
    torch.testing.assert_close(norms, expected_norms, rtol=1e-5, atol=0)
    torch.testing.assert_close(dots, expected_dots, rtol=1e-4, atol=1e-4 * float(expected_dots.abs().max()))


def test_bfloat16_keeps_the_ranks() -> None:
    model = network("llama", hidden_size=64, intermediate_size=256)
    batch, direction = texts(24, 48), directions(model)
    exact = torch.stack(norms_and_dots(model, batch, direction))
    with torch.autocast("cpu", torch.bfloat16):
        rough = torch.stack(norms_and_dots(model, batch, direction))
    assert not torch.equal(exact, rough)
    for one, other in zip(exact, rough, strict=True):
        ranks = torch.stack([one.argsort().argsort(), other.argsort().argsort()]).double()
        assert torch.corrcoef(ranks)[0, 1] > 0.98
    torch.testing.assert_close(rough[0], exact[0], rtol=0.02, atol=0)


@pytest.mark.usefixtures("float64")
def test_a_sample_that_is_not_finite_stays_alone() -> None:
    model: Any = network("llama")
    batch, direction = texts(3, 12, "none"), directions(model)
    batch["input_ids"][:] = batch["input_ids"].clamp(max=VOCABULARY - 2)
    batch["labels"][:] = batch["input_ids"]
    expected = torch.stack(norms_and_dots(model, batch, direction))
    with torch.no_grad():
        model.model.embed_tokens.weight[VOCABULARY - 1] = torch.nan
    batch["input_ids"][1, 4] = VOCABULARY - 1
    found = torch.stack(norms_and_dots(model, batch, direction))
    assert found[:, 1].isnan().all()
    torch.testing.assert_close(found[:, [0, 2]], expected[:, [0, 2]])


def test_a_sample_without_targets_is_refused() -> None:
    model, batch = network("llama"), texts(3, 12)
    batch["labels"][2, 1:] = -100  # the first token is predicted from nothing
    with pytest.raises(ValueError, match="sample 2 of the batch has no target"):
        norms_and_dots(model, batch, directions(model))


def test_a_direction_must_fit() -> None:
    model, batch = network("llama"), texts(2, 12)
    direction = directions(model)
    del direction["model.norm.weight"]
    with pytest.raises(ValueError, match=r"shape \(32,\) for model.norm.weight: none"):
        norms_and_dots(model, batch, direction)


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


def test_a_head_that_does_more_is_an_error() -> None:
    config = AutoConfig.for_model(
        "granite", vocab_size=VOCABULARY, pad_token_id=None, logits_scaling=3.0, **SIZES["llama"]
    )
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(UnsupportedLayerError, match="more to its logits than one linear layer"):
        norms_and_dots(model, texts(2, 8), directions(model))
