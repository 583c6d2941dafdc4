"""The loss and the gradients of a language model, whatever the micro-batch."""

from pathlib import Path

import numpy as np
import pytest
import torch
from training_example import a_model, an_order, rows, train, weights

from qurating.models import language_model, likelihood


@pytest.fixture
def order(tmp_path: Path) -> Path:
    return an_order(tmp_path / "order")


def test_gradients_do_not_depend_on_the_micro_batch(order: Path, tmp_path: Path) -> None:
    one = train(order, tmp_path / "one", micro_batch_size=1)
    four = train(order, tmp_path / "four", micro_batch_size=4)
    assert torch.allclose(weights(one), weights(four), atol=1e-5)
    losses = [[float(row["train/loss"]) for row in rows(tmp_path / name)] for name in ("one", "four")]
    assert losses[0] == pytest.approx(losses[1], rel=1e-4)


def test_the_loss_that_is_logged_is_that_of_the_whole_step(order: Path, tmp_path: Path) -> None:
    train(order, tmp_path / "lm", micro_batch_size=1)
    blocks = np.zeros((12, 8), np.int64)
    stream = np.load(order / "tokens.npy").astype(np.int64)
    blocks.flat[: len(stream)] = stream
    first = torch.from_numpy(blocks[:4])
    logits = a_model().network(input_ids=first).logits[:, :-1]
    expected = torch.nn.functional.cross_entropy(logits.reshape(-1, 64), first[:, 1:].reshape(-1))
    logged = [float(row["train/loss"]) for row in rows(tmp_path / "lm")]
    assert logged[0] == pytest.approx(expected.item(), rel=1e-4)
    assert min(logged) > 2  # the last block is half empty


@pytest.mark.parametrize("micro_batch_size", [1, 4])
def test_large_logits_are_computed_in_parts_and_train_the_same(
    order: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, micro_batch_size: int
) -> None:
    whole = train(order, tmp_path / "whole", micro_batch_size)
    parts = []
    plain = language_model.summed_cross_entropy

    def watched(head: torch.nn.Module, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        parts.append(tuple(states.shape))
        return plain(head, states, targets)

    monkeypatch.setattr(language_model, "summed_cross_entropy", watched)
    monkeypatch.setattr(language_model, "MAX_LOGITS", 100)
    monkeypatch.setattr(likelihood, "MAX_LOGITS_TRAINED_ON_CPU", 64 * 5)
    in_parts = train(order, tmp_path / "parts", micro_batch_size)
    assert parts == [(7 * micro_batch_size, 16)] * (12 // micro_batch_size)
    assert torch.allclose(weights(whole), weights(in_parts), atol=1e-5)
    for one, other in zip(rows(tmp_path / "whole"), rows(tmp_path / "parts"), strict=True):
        assert float(one["train/loss"]) == pytest.approx(float(other["train/loss"]), rel=1e-5)
