"""Operations per token, beside torch's own count of a forward and backward pass."""

from typing import Any

import pytest
import torch
from torch.utils.flop_counter import FlopCounterMode

from qurating.models import networks
from qurating.training.flops import dtype_of_products, flops_per_token, matmul_rate

LLAMA: dict[str, Any] = {"hidden_size": 24, "intermediate_size": 40, "num_hidden_layers": 3, "num_attention_heads": 4}


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        ("llama", LLAMA | {"num_key_value_heads": 2, "tie_word_embeddings": False}),
        ("mistral", LLAMA | {"num_key_value_heads": 4, "head_dim": 8, "tie_word_embeddings": True}),
    ],
)
def test_it_is_what_torch_counts_with_half_of_the_attention(model_type: str, settings: dict[str, Any]) -> None:
    network = networks.language_model(model_type, vocabulary_size=50, eos_token_id=0, **settings)
    network.set_attn_implementation("eager")  # as matrix products, which torch counts, those of later keys too
    ids = torch.randint(0, 50, (2, 16))
    with FlopCounterMode(display=False) as counter:
        network(input_ids=ids, labels=ids, use_cache=False).loss.backward()
    width = settings["num_attention_heads"] * settings.get("head_dim", 6)
    of_later_keys = 6 * settings["num_hidden_layers"] * 16 * width
    counted = counter.get_total_flops() / ids.numel() - of_later_keys
    # norms are weights, and no products; nor has the first layer an input whose gradient is wanted
    assert flops_per_token(network, 16) == pytest.approx(counted, rel=0.02)


def test_the_rate_of_products_is_measured_once() -> None:
    matmul_rate.cache_clear()
    first = matmul_rate(torch.device("cpu"), torch.float32)
    assert 1e7 < first < 1e15
    assert matmul_rate(torch.device("cpu"), torch.float32) == first
    precisions = ("32-true", "bf16-mixed", "bf16-true", "16-mixed")
    expected = [torch.float32, torch.bfloat16, torch.bfloat16, torch.float16]
    assert [dtype_of_products(each) for each in precisions] == expected
