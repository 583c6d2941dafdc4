"""The loss and the gradients of a language model, whatever the micro-batch."""

import functools
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import torch
from curve_example import measured
from training_example import a_model, an_order, rows, train, weights
from transformers.models.llama.modeling_llama import LlamaMLP

from qurating.models import language_model, linear_cross_entropy
from qurating.models.language_model import LanguageModel


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
def test_logits_are_computed_in_parts_and_train_the_same(
    order: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, micro_batch_size: int
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(LanguageModel, "_has_plain_loss", False)  # the loss that transformers computes
        whole = train(order, tmp_path / "whole", micro_batch_size)
    parts = []
    plain = language_model.summed_cross_entropy

    def watched(head: torch.nn.Linear, states: torch.Tensor, targets: torch.Tensor) -> torch.Tensor:
        parts.append(tuple(states.shape))
        return plain(head, states, targets)

    monkeypatch.setattr(language_model, "summed_cross_entropy", watched)
    monkeypatch.setattr(linear_cross_entropy, "tokens_at_once", lambda *_: 5)
    in_parts = train(order, tmp_path / "parts", micro_batch_size)
    assert parts == [(7 * micro_batch_size, 16)] * (12 // micro_batch_size)
    assert torch.allclose(weights(whole), weights(in_parts), atol=1e-5)
    for one, other in zip(rows(tmp_path / "whole"), rows(tmp_path / "parts"), strict=True):
        assert float(one["train/loss"]) == pytest.approx(float(other["train/loss"]), rel=1e-5)


def losses(folder: Path) -> list[float]:
    return [float(row["train/loss"]) for row in rows(folder)]


@pytest.mark.parametrize("in_parts", [False, True])
@pytest.mark.parametrize(("precision", "dtype"), [("bf16-mixed", torch.float32), ("bf16-true", torch.bfloat16)])
def test_bfloat16_trains_the_same_to_its_digits(
    order: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, precision: str, dtype: torch.dtype, in_parts: bool
) -> None:
    train(order, tmp_path / "float32", every_steps=9)
    monkeypatch.setattr(LanguageModel, "_has_plain_loss", in_parts)
    model = train(order, tmp_path / "bfloat16", every_steps=9, precision=precision)
    assert {parameter.dtype for parameter in model.parameters()} == {dtype}
    # three digits of a loss of 4, where the steps change it by 0.2
    assert losses(tmp_path / "bfloat16") == pytest.approx(losses(tmp_path / "float32"), abs=0.02)
    assert losses(tmp_path / "bfloat16") != losses(tmp_path / "float32")


@pytest.mark.parametrize("in_parts", [False, True])
def test_layers_computed_again_have_the_same_gradients(
    order: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, in_parts: bool
) -> None:
    monkeypatch.setattr(LanguageModel, "_has_plain_loss", in_parts)
    calls = []
    forward = LlamaMLP.forward

    def counted(self: LlamaMLP, states: torch.Tensor) -> torch.Tensor:
        calls.append(1)
        return forward(self, states)

    monkeypatch.setattr(LlamaMLP, "forward", counted)
    found = []
    for again in (False, True):
        calls.clear()
        model = train(order, tmp_path / str(again), every_steps=9, gradient_checkpointing=again)
        found.append((weights(model), losses(tmp_path / str(again)), len(calls)))
    (kept, kept_losses, once), (recomputed, recomputed_losses, twice) = found
    assert torch.equal(kept, recomputed)
    assert kept_losses == recomputed_losses
    assert twice == once + 6  # one layer, six passes (one more call tries whether the loss can be in parts)


def test_compiled_layers_share_one_compilation_and_leave_the_names_of_weights(
    order: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = train(order, tmp_path / "plain", num_hidden_layers=3)
    graphs = []

    def backend(graph: torch.fx.GraphModule, _: object) -> torch.fx.GraphModule:
        graphs.append(graph)
        return graph

    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend=backend))
    torch._dynamo.reset()  # other tests of this process have compiled layers of the same class, also without gradients
    curve = measured()
    with torch._dynamo.config.patch(error_on_recompile=True):
        compiled = train(order, tmp_path / "compiled", num_hidden_layers=3, compiles=True, callbacks=[curve])
    assert len(graphs) == 1  # of three layers, and none for the held-out sequences of other widths
    assert len(curve.nll_nats) == 3
    assert compiled.state_dict().keys() == plain.state_dict().keys()
    assert torch.allclose(weights(compiled), weights(plain), atol=1e-6)
    for fail_at in (3, None):  # resumed, it ends with the same bits
        with pytest.raises(RuntimeError, match="pulled the plug") if fail_at else nullcontext():
            resumed = train(order, tmp_path / "cut", num_hidden_layers=3, compiles=True, fail_at=fail_at)
    assert torch.equal(weights(resumed), weights(compiled))
