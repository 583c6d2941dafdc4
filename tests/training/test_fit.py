"""Training by steps: what each step sees, and that an interruption leaves no trace."""

import csv
import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor
from transformers import get_cosine_with_min_lr_schedule_with_warmup

from qurating.datamodules.tokens import TokenBlocks
from qurating.models import networks
from qurating.models.language_model import LanguageModel
from qurating.models.optimization import Optimization
from qurating.runtime.errors import StageError
from qurating.training.checkpoints import latest
from qurating.training.fit import fit

TRAINER = functools.partial(
    pl.Trainer,
    accelerator="cpu",
    devices=1,
    enable_model_summary=False,
    enable_progress_bar=True,
    log_every_n_steps=1,
)


class Watched(LanguageModel):
    """Records the tokens each forward pass saw, and fails at one of them."""

    fail_at: int | None = None

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        if batch_idx == self.fail_at:
            raise RuntimeError("pulled the plug")
        self.seen = [*getattr(self, "seen", []), batch["input_ids"].clone()]
        return super().training_step(batch, batch_idx)


def a_model() -> Watched:
    torch.manual_seed(1)
    network = networks.language_model(
        "llama",
        vocabulary_size=64,
        eos_token_id=0,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=1,
    )
    optimizer = functools.partial(torch.optim.AdamW, lr=1e-2)
    schedule = functools.partial(get_cosine_with_min_lr_schedule_with_warmup, min_lr_rate=0.1)
    return Watched(network, Optimization(optimizer, schedule, warmup_fraction=0.2))


@pytest.fixture
def order(tmp_path: Path) -> Path:
    folder = tmp_path / "order"
    folder.mkdir()
    # 11 full blocks of 8 and a piece of 5: the last step is neither full in blocks nor in tokens
    np.save(folder / "tokens.npy", np.random.default_rng(0).integers(1, 64, 93).astype(np.uint16))
    return folder


def train(
    order: Path, output: Path, micro_batch_size: int = 2, fail_at: int | None = None, every_steps: int = 1
) -> Watched:
    model = a_model()
    model.fail_at = fail_at
    data = TokenBlocks(order, sequence_length=8, batch_size_sequences=4, micro_batch_size=micro_batch_size)
    fit(model, data, TRAINER, output, gradient_clip_norm=1.0, checkpoint_every_steps=every_steps, name="test")
    return model


def weights(model: pl.LightningModule) -> Tensor:
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def rows(output: Path) -> list[dict[str, str]]:
    with open(output / "metrics.csv", newline="", encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_every_token_is_seen_once_in_order(order: Path, tmp_path: Path) -> None:
    model = train(order, tmp_path / "lm")
    stream = np.load(order / "tokens.npy")
    seen = torch.cat([batch.flatten() for batch in model.seen]).numpy()
    assert np.array_equal(seen[: len(stream)], stream)
    assert not seen[len(stream) :].any()
    assert [row["train/tokens"] for row in rows(tmp_path / "lm")] == ["32.0", "64.0", "93.0"]


@pytest.mark.parametrize("fail_at", [1, 2, 5])
def test_an_interrupted_training_ends_with_the_same_weights(order: Path, tmp_path: Path, fail_at: int) -> None:
    whole = train(order, tmp_path / "whole")
    with pytest.raises(RuntimeError, match="pulled the plug"):
        train(order, tmp_path / "cut", fail_at=fail_at)
    resumed = train(order, tmp_path / "cut")
    assert torch.equal(weights(resumed), weights(whole))
    assert len(resumed.seen) < len(whole.seen) or fail_at == 1
    assert rows(tmp_path / "cut") == rows(tmp_path / "whole")


@pytest.mark.parametrize(("before", "after"), [(4, 1), (2, 4), (1, 2), (2, 1)])
def test_a_training_resumes_with_another_micro_batch(order: Path, tmp_path: Path, before: int, after: int) -> None:
    whole = train(order, tmp_path / "whole", micro_batch_size=after)
    with pytest.raises(RuntimeError, match="pulled the plug"):
        train(order, tmp_path / "cut", micro_batch_size=before, fail_at=2 * (4 // before))
    resumed = train(order, tmp_path / "cut", micro_batch_size=after)
    assert len(resumed.seen) == 4 // after  # the last step alone
    assert torch.allclose(weights(resumed), weights(whole), atol=1e-5)


def test_a_training_shorter_than_a_checkpoint_ends_well(order: Path, tmp_path: Path) -> None:
    assert torch.equal(
        weights(train(order, tmp_path / "one", every_steps=100)), weights(train(order, tmp_path / "two", every_steps=1))
    )


def test_settings_of_the_trainer_that_belong_to_the_training_are_refused(order: Path, tmp_path: Path) -> None:
    data = TokenBlocks(order, sequence_length=8, batch_size_sequences=4, micro_batch_size=2)
    trainer = functools.partial(TRAINER, max_steps=3)
    with pytest.raises(StageError, match=r"trainer\.max_steps is not for you"):
        fit(a_model(), data, trainer, tmp_path, gradient_clip_norm=1.0, checkpoint_every_steps=1, name="test")


def test_the_end_of_text_is_learned() -> None:
    embedding = a_model().network.get_input_embeddings()
    assert embedding.padding_idx is None
    assert embedding.weight[0].abs().sum() > 0


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


def test_a_batch_that_devices_cannot_share_is_refused(order: Path) -> None:
    data = TokenBlocks(order, sequence_length=8, batch_size_sequences=4, micro_batch_size=2)
    assert data.accumulation(1) == 2
    assert data.accumulation(2) == 1
    with pytest.raises(ValueError, match="not shared evenly"):
        data.accumulation(3)


def test_the_latest_checkpoint_is_the_one_with_most_steps(tmp_path: Path) -> None:
    assert latest(tmp_path) == (None, 0)
    for name in ("step=5.ckpt", "step=20.ckpt", "best.ckpt"):
        (tmp_path / name).touch()
    assert latest(tmp_path) == (tmp_path / "step=20.ckpt", 20)


def test_an_unknown_setting_of_the_network_is_refused() -> None:
    settings: dict[str, Any] = {"hiden_size": 3}
    with pytest.raises(ValueError, match="hiden_size"):
        networks.language_model("llama", vocabulary_size=8, eos_token_id=0, **settings)
