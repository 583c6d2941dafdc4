"""A language model before its training."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch
from sweep_example import corpus as make_corpus
from training_example import an_order
from transformers import AutoTokenizer, get_linear_schedule_with_warmup

from qurating.models import networks
from qurating.models.optimization import Optimization
from qurating.runtime.errors import StageError
from qurating.training.language_model import prepare

NETWORK = functools.partial(
    networks.language_model, "llama", hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
    num_key_value_heads=1, max_position_embeddings=32,
)  # fmt: skip


def weights(module: Any) -> torch.Tensor:
    return torch.cat([parameter.detach().flatten() for parameter in module.parameters()])


def test_the_seed_alone_draws_the_weights_and_the_tokenizer_sizes_them(tmp_path: Path) -> None:
    corpus, order = make_corpus(tmp_path / "corpus"), an_order(tmp_path / "order")
    made = []
    for seed in (1, 1, 2):
        torch.rand(3)  # what was drawn before does not matter
        module, data = prepare(
            corpus=corpus,
            order=order,
            network=NETWORK,
            optimization=Optimization(torch.optim.AdamW, get_linear_schedule_with_warmup, 0.1),
            sequence_length=8,
            batch_size_sequences=4,
            micro_batch_size=2,
            seed=seed,
        )
        made.append(weights(module))
    assert torch.equal(made[0], made[1])
    assert not torch.equal(made[0], made[2])
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    assert module.network.config.vocab_size == len(tokenizer)
    assert module.network.config.eos_token_id == tokenizer.eos_token_id
    assert data.num_steps == -(-93 // (8 * 4))


def test_less_than_one_batch_of_tokens_is_refused(tmp_path: Path) -> None:
    corpus, order = make_corpus(tmp_path / "corpus"), an_order(tmp_path / "order")
    settings: dict[str, Any] = {
        "corpus": corpus,
        "order": order,
        "network": NETWORK,
        "optimization": Optimization(torch.optim.AdamW, get_linear_schedule_with_warmup, 0.1),
        "micro_batch_size": 2,
        "seed": 1,
    }
    with pytest.raises(StageError, match=r"has 93 tokens, fewer than one batch of 12 × 8 = 96: .*batch_size_sequences"):
        prepare(**settings, sequence_length=8, batch_size_sequences=12)
    assert prepare(**settings, sequence_length=31, batch_size_sequences=3)[1].num_steps == 1


def test_what_cannot_be_trained_is_refused_before_the_training(tmp_path: Path) -> None:
    settings: dict[str, Any] = {
        "corpus": make_corpus(tmp_path / "corpus"),
        "order": an_order(tmp_path / "order"),
        "network": NETWORK,
        "optimization": Optimization(torch.optim.AdamW, get_linear_schedule_with_warmup, 0.1),
        "sequence_length": 8,
        "batch_size_sequences": 4,
        "micro_batch_size": 2,
        "seed": 1,
    }
    long_warm_up = Optimization(torch.optim.AdamW, get_linear_schedule_with_warmup, warmup_steps=3)
    with pytest.raises(StageError, match="a warm-up of 3 steps does not fit into a training of 3 steps"):
        prepare(**settings | {"optimization": long_warm_up})
    with pytest.raises(StageError, match=r"model\.sequence_length=33, and the network has 32 positions"):
        prepare(**settings | {"sequence_length": 33, "batch_size_sequences": 1})
    with pytest.raises(StageError, match="cannot be created: the configuration of 'llama' has no hidden_sise"):
        prepare(**settings | {"network": functools.partial(NETWORK, hidden_sise=8)})


def test_a_model_that_continues_is_in_training_and_may_compute_its_layers_again(tmp_path: Path) -> None:
    corpus, order = make_corpus(tmp_path / "corpus"), an_order(tmp_path / "order")
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    made = NETWORK(vocabulary_size=len(tokenizer), eos_token_id=tokenizer.eos_token_id)
    made.save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    module, _ = prepare(
        corpus=corpus,
        order=order,
        network=None,
        from_pretrained=str(tmp_path / "lm"),
        optimization=Optimization(torch.optim.AdamW, get_linear_schedule_with_warmup, 0.1),
        sequence_length=8,
        batch_size_sequences=4,
        micro_batch_size=2,
        seed=1,
        gradient_checkpointing=True,
    )
    assert torch.equal(weights(module.network), weights(made))
    assert all(each.training for each in module.network.modules())
    assert module.network.is_gradient_checkpointing
