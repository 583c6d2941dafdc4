"""Per-sample norms and dot products against autograd, one sample at a time, in float64."""

from collections.abc import Iterator
from typing import Any

import pytest
import torch
from gradient_example import SIZES, VOCABULARY, check, directions, network, one_by_one, texts
from transformers import AutoConfig, AutoModelForCausalLM

from qurating.lqs.per_sample_gradients import UnsupportedLayerError, norms_and_dots


@pytest.fixture
def float64() -> Iterator[None]:
    """transformers makes constants in the default precision, such as the smallest number that masks attention."""
    torch.set_default_dtype(torch.float64)
    yield
    torch.set_default_dtype(torch.float32)


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


def test_a_head_that_does_more_is_an_error() -> None:
    config = AutoConfig.for_model(
        "granite", vocab_size=VOCABULARY, pad_token_id=None, logits_scaling=3.0, **SIZES["llama"]
    )
    model = AutoModelForCausalLM.from_config(config)
    with pytest.raises(UnsupportedLayerError, match="more to its logits than one linear layer"):
        norms_and_dots(model, texts(2, 8), directions(model))
