"""Likelihoods of tokens: however many logits are held at a time, and for causal models alone."""

from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from evaluation_example import corpus_and_model, run
from transformers import PreTrainedModel

from qurating.models import likelihood, networks


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return corpus_and_model(tmp_path_factory.mktemp("evaluate"))


def test_batches_and_chunks_change_nothing(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(made, tmp_path / "a", batch_size_sequences=1)
    monkeypatch.setattr(likelihood, "MAX_LOGITS", 600 * 11)  # eleven tokens at a time
    run(made, tmp_path / "b", batch_size_sequences=33)
    a, b = (pq.read_table(tmp_path / x / "sequences.parquet")["nll_nats"].to_numpy() for x in "ab")
    np.testing.assert_allclose(a, b, rtol=1e-5)


def test_logits_are_never_held_for_more_than_the_bound(
    made: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    sizes = []
    plain = likelihood.F.cross_entropy

    def watched(logits: torch.Tensor, *given: object, **named: object) -> torch.Tensor:
        sizes.append(logits.numel())
        return plain(logits, *given, **named)  # type: ignore[arg-type]

    monkeypatch.setattr(likelihood, "MAX_LOGITS", 600 * 50)
    monkeypatch.setattr(likelihood.F, "cross_entropy", watched)
    run(made, tmp_path / "out", batch_size_sequences=64)
    assert max(sizes) == 600 * 50


def a_network(model_type: str = "llama", **more: object) -> PreTrainedModel:
    torch.manual_seed(0)
    return networks.language_model(
        model_type, vocabulary_size=50, eos_token_id=0, hidden_size=16, intermediate_size=32, num_hidden_layers=1,
        num_attention_heads=2, num_key_value_heads=1, max_position_embeddings=32, **more,
    )  # fmt: skip


def test_a_loss_with_something_added_is_not_plain() -> None:
    assert likelihood.has_plain_loss(a_network())
    experts = {"num_local_experts": 2, "num_experts_per_tok": 1}
    assert likelihood.has_plain_loss(a_network("mixtral", **experts))
    assert not likelihood.has_plain_loss(a_network("mixtral", **experts, output_router_logits=True))
    assert not likelihood.has_plain_loss(a_network("gemma2", final_logit_softcapping=0.05, head_dim=8))


def test_asking_leaves_a_network_in_training_and_draws_nothing() -> None:
    network = a_network(attention_dropout=0.5).train()
    state = torch.random.get_rng_state()
    assert likelihood.has_plain_loss(network)
    assert network.training
    assert torch.equal(torch.random.get_rng_state(), state)
