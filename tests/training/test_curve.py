"""The held-out loss along a training: when it is measured, what it is, and that the training does not notice."""

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from curve_example import EOS, POINTS, heldout, measured
from hypothesis import given, settings
from hypothesis import strategies as st
from pytorch_lightning.loggers.logger import DummyLogger
from training_example import an_order, rows, train, weights

from qurating.metrics.loss_curve import SCHEMA, loss_curve
from qurating.runtime.errors import StageError
from qurating.training import tracking
from qurating.training.curve import HeldOutLoss, steps_of_points


@pytest.fixture
def order(tmp_path: Path) -> Path:
    return an_order(tmp_path / "order")


def plain_nll(network: Any) -> dict[str, float]:
    """Nats of each document, one sequence at a time, by the network's own logits."""
    held, found = heldout(), dict[str, float]()
    for (start, end), name in zip(itertools.pairwise(held.starts), held.rows["document_id"].to_pylist(), strict=True):
        if end > start:
            ids = torch.tensor([EOS, *held.input_ids[start:end].tolist()])
            with torch.no_grad():
                logits = network(input_ids=ids[None, :-1]).logits[0].double()
            found[name] = found.get(name, 0.0) + float(F.cross_entropy(logits, ids[1:], reduction="sum"))
    return found


def nll_at(curve: HeldOutLoss, step: int) -> dict[str, float]:
    return {row["document_id"]: row["nll_nats"] for row in curve.table().to_pylist() if row["step"] == step}


def test_ten_points_are_spaced_evenly_in_log_tokens_and_end_with_all() -> None:
    found = steps_of_points(10, 30_000_000_000, 2048 * 1024)
    tokens = list(found.values())
    assert tokens[-1] == 30_000_000_000
    assert tokens[0] == 144 * 2048 * 1024  # the first step to reach 1 %
    ratios = np.diff(np.log(tokens))
    assert np.allclose(ratios, math.log(100) / 9, atol=0.01)


def test_points_fall_on_whole_steps() -> None:
    assert steps_of_points(3, 1000, 10) == {1: 10, 10: 100, 100: 1000}
    assert steps_of_points(1, 1000, 300) == {4: 1000}
    assert steps_of_points(10, 25, 10) == {1: 10, 2: 20, 3: 25}  # fewer steps than points
    assert steps_of_points([10, 11, 500, 1e9], 1000, 10) == {1: 10, 2: 20, 50: 500, 100: 1000}
    assert steps_of_points([1], 1005, 10) == {1: 10, 101: 1005}
    assert steps_of_points(0, 1000, 10) == steps_of_points(None, 1000, 10) == {}


@settings(max_examples=200, deadline=None)
@given(st.integers(1, 30), st.integers(1, 10**12), st.integers(1, 10**7))
def test_points_are_steps_of_the_training_and_end_with_it(points: int, num_tokens: int, tokens_per_step: int) -> None:
    found = steps_of_points(points, num_tokens, tokens_per_step)
    last = -(-num_tokens // tokens_per_step)
    assert 1 <= len(found) <= points
    assert all(1 <= step <= last for step in found)
    assert found[last] == num_tokens
    assert list(found.values()) == sorted(set(found.values()))


@pytest.mark.parametrize("points", [-1, 2.5, True, "ten", [0], [10, "all"], [-5]])
def test_other_points_are_refused(points: Any) -> None:
    with pytest.raises(StageError, match=r"model\.heldout_points"):
        steps_of_points(points, 1000, 10)


@pytest.mark.parametrize("micro_batch_size", [1, 4])
def test_each_point_has_the_loss_of_the_weights_at_its_step(order: Path, tmp_path: Path, micro_batch_size: int) -> None:
    curve = measured()
    model = train(order, tmp_path / "lm", micro_batch_size, callbacks=[curve])
    # by domain, and in it by document
    expected = [("b", "code", 8, 24), ("a", "prose", 5, 15), ("c", "prose", 3, 9)]
    assert [tuple(row[name] for name in SCHEMA.names if name != "nll_nats") for row in curve.table().to_pylist()] == [
        (step, tokens, *document) for step, tokens in POINTS.items() for document in expected
    ]
    assert nll_at(curve, 3) == pytest.approx(plain_nll(model.network), rel=1e-6)
    assert nll_at(curve, 1) != pytest.approx(nll_at(curve, 3), rel=1e-3)
    early = measured({1: 32})
    train(order, tmp_path / "early", micro_batch_size, callbacks=[early])
    assert nll_at(early, 1) == nll_at(curve, 1)


def test_the_training_does_not_notice(order: Path, tmp_path: Path) -> None:
    plain = train(order, tmp_path / "plain", attention_dropout=0.5)
    curve = measured()
    with_curve = train(order, tmp_path / "with", attention_dropout=0.5, callbacks=[curve])
    assert torch.equal(weights(plain), weights(with_curve))
    assert rows(tmp_path / "plain") == rows(tmp_path / "with")
    assert with_curve.network.training
    with_curve.network.eval()  # the loss was measured without dropout
    assert nll_at(curve, 3) == pytest.approx(plain_nll(with_curve.network), rel=1e-6)


@pytest.mark.parametrize("every_steps", [1, 2, 100])
@pytest.mark.parametrize("fail_at", [2, 4, 5])
def test_an_interrupted_training_has_the_same_curve(
    order: Path, tmp_path: Path, fail_at: int, every_steps: int
) -> None:
    whole = measured()
    train(order, tmp_path / "whole", every_steps=every_steps, callbacks=[whole])
    with pytest.raises(RuntimeError, match="pulled the plug"):
        train(order, tmp_path / "cut", fail_at=fail_at, every_steps=every_steps, callbacks=[measured()])
    resumed = measured()
    train(order, tmp_path / "cut", every_steps=every_steps, callbacks=[resumed])
    assert resumed.table().equals(whole.table())
    for curve, name in ((whole, "a"), (resumed, "b")):
        curve.write(tmp_path / name)
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_the_file_and_the_counts(order: Path, tmp_path: Path) -> None:
    curve = measured()
    train(order, tmp_path / "lm", callbacks=[curve])
    counts = curve.write(tmp_path / "curve.parquet")
    table = pq.read_table(tmp_path / "curve.parquet")
    assert table.schema.equals(SCHEMA)
    assert table.equals(curve.table())
    total = math.fsum(nll_at(curve, 3).values())
    assert counts == {"heldout_nats_per_token": pytest.approx(total / 16, rel=1e-12), "heldout_tokens": 16}


def test_a_checkpoint_has_a_number_per_point_and_document(order: Path, tmp_path: Path) -> None:
    curve = measured()
    with pytest.raises(RuntimeError, match="pulled the plug"):
        train(order, tmp_path / "lm", fail_at=4, callbacks=[curve])
    (file,) = (tmp_path / "lm/checkpoints").glob("*.ckpt")
    states = torch.load(file, weights_only=True)["callbacks"]
    kept = states[curve.state_key]["nll_nats"]
    assert {step: nll.tolist() for step, nll in kept.items()} == {
        step: list(nll_at(curve, step).values()) for step in kept
    }
    assert len(kept) > 1
    assert {(nll.dtype, nll.untyped_storage().nbytes()) for nll in kept.values()} == {(torch.float64, 3 * 8)}


def test_trackers_get_each_point_and_the_metrics_of_the_training_stay(
    order: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[tuple[int, dict[str, float]]] = []

    class Tracker(DummyLogger):
        def log_metrics(self, metrics: dict[str, float], step: int) -> None:
            logged.append((step, metrics))

    monkeypatch.setattr(tracking, "loggers", lambda: [Tracker()])
    curve = measured()
    train(order, tmp_path / "lm", callbacks=[curve])
    found = [(step, metrics) for step, metrics in logged if "heldout/nats_per_token" in metrics]
    assert [step for step, _ in found] == [0, 1, 2]
    last = loss_curve(curve.table())[-1]
    assert found[-1][1] == {
        "heldout/tokens": last.tokens,
        "heldout/nats_per_token": last.nats_per_token,
        "heldout/nats_per_token/code": last.domains["code"],
        "heldout/nats_per_token/prose": last.domains["prose"],
    }
    # at the step of the training loss before the same weights
    assert [step for step, metrics in logged if "train/loss" in metrics] == [0, 1, 2]
    assert len(rows(tmp_path / "lm")) == 3
    assert "heldout/nats_per_token" not in rows(tmp_path / "lm")[0]


def test_a_resumed_training_tells_trackers_again_what_came_before(
    order: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    logged: list[tuple[int, dict[str, float]]] = []

    class Tracker(DummyLogger):
        def log_metrics(self, metrics: dict[str, float], step: int) -> None:
            logged.append((step, metrics))

    with pytest.raises(RuntimeError, match="pulled the plug"):
        train(order, tmp_path / "lm", fail_at=4, callbacks=[measured()])
    monkeypatch.setattr(tracking, "loggers", lambda: [Tracker()])
    train(order, tmp_path / "lm", callbacks=[measured()])
    losses = {step: metrics["train/loss"] for step, metrics in logged if "train/loss" in metrics}
    assert losses == {int(row["step"]): pytest.approx(float(row["train/loss"])) for row in rows(tmp_path / "lm")}
    assert [*losses] == [0, 1, 2]
    assert [step for step, metrics in logged if "heldout/tokens" in metrics] == [0, 1, 2]


def test_a_loss_that_is_not_finite_stops_the_training(order: Path, tmp_path: Path) -> None:
    class Poisoned(HeldOutLoss):
        def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
            network: Any = pl_module.network
            with torch.no_grad():
                network.get_input_embeddings().weight[63] = torch.nan

    np.save(order / "tokens.npy", np.minimum(np.load(order / "tokens.npy"), 62))
    held = heldout()
    held.input_ids[-2] = 63  # of the last sequence, so that a later token is predicted from it
    with pytest.raises(StageError, match=r"not finite on 1 of 5 sequences after step 2"):
        train(order, tmp_path / "lm", callbacks=[Poisoned(held, {2: 64, 3: 93}, EOS, 2)])
