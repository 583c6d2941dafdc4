"""Training by steps: what each step sees, and that an interruption leaves no trace."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor
from training_example import TRAINER, Watched, a_model, an_order, rows, train, weights

from qurating.datamodules.tokens import TokenBlocks
from qurating.runtime.errors import StageError
from qurating.training.fit import fit


@pytest.fixture
def order(tmp_path: Path) -> Path:
    return an_order(tmp_path / "order")


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


def test_dropout_is_a_function_of_the_seed_and_the_step(order: Path, tmp_path: Path) -> None:
    whole = train(order, tmp_path / "whole", attention_dropout=0.5)
    with pytest.raises(RuntimeError, match="pulled the plug"):
        train(order, tmp_path / "cut", fail_at=4, attention_dropout=0.5)
    assert torch.equal(weights(train(order, tmp_path / "cut", attention_dropout=0.5)), weights(whole))
    other = train(order, tmp_path / "other", attention_dropout=0.5, seed=2)
    assert not torch.equal(weights(other), weights(whole))

    class Draws(Callback):  # as what measures the speed of the machine does, at a time of its own
        def on_train_batch_start(self, *_: Any) -> None:
            torch.rand(1)

    drawn = train(order, tmp_path / "drawn", callbacks=[Draws()], attention_dropout=0.5)
    assert torch.equal(weights(drawn), weights(whole))


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
    data = TokenBlocks(order, sequence_length=8, batch_size_sequences=4, micro_batch_size=2, vocabulary_size=64)
    trainer = functools.partial(TRAINER, max_steps=3)
    with pytest.raises(StageError, match=r"trainer\.max_steps cannot be set"):
        fit(a_model(), data, trainer, tmp_path, gradient_clip_norm=1.0, checkpoint_every_steps=1, name="test")


class Diverging(Watched):
    """Its loss, or one of its gradients, is not finite at a forward pass."""

    bad_pass, bad = 0, "loss"

    def training_step(self, batch: dict[str, Tensor], batch_idx: int) -> Tensor:
        if batch_idx == self.bad_pass:
            weight = self.network.get_output_embeddings().weight
            if self.bad == "loss":
                weight.data[3] = torch.nan
            else:
                weight.register_hook(lambda gradient: gradient * torch.inf)
        return super().training_step(batch, batch_idx)


@pytest.mark.parametrize(("bad", "message"), [("loss", "the loss"), ("gradient", "a gradient")])
def test_a_training_that_diverges_stops_at_that_step_and_names_its_data(
    order: Path, tmp_path: Path, bad: str, message: str
) -> None:
    model = a_model()
    model.__class__ = Diverging
    model.bad_pass, model.bad = 5, bad  # the second pass of the third step
    data = TokenBlocks(order, sequence_length=8, batch_size_sequences=4, micro_batch_size=2, vocabulary_size=64)
    said = (
        rf"{message} is not finite at step 3 of 3; .*of step 2 is kept\. Lower .*rows 6 to 9 of .*106, 107, 108, 109$"
    )
    with pytest.raises(StageError, match=said):
        fit(model, data, TRAINER, tmp_path / "lm", gradient_clip_norm=1.0, checkpoint_every_steps=1, name="test")
    (checkpoint,) = (tmp_path / "lm/checkpoints").glob("*.ckpt")
    kept = torch.load(checkpoint, weights_only=True)["state_dict"]
    assert all(weight.isfinite().all() for weight in kept.values())
    # from there, a training without the fault ends as if there had been none
    assert torch.equal(weights(train(order, tmp_path / "lm")), weights(train(order, tmp_path / "whole")))


def test_a_training_that_diverges_at_once_has_no_checkpoint(order: Path, tmp_path: Path) -> None:
    model = a_model()
    model.__class__ = Diverging
    data = TokenBlocks(order, sequence_length=8, batch_size_sequences=4, micro_batch_size=2, vocabulary_size=64)
    with pytest.raises(StageError, match=r"step 1 of 3; there is no checkpoint yet.*rows 0 to 3 of"):
        fit(model, data, TRAINER, tmp_path / "lm", gradient_clip_norm=1.0, checkpoint_every_steps=1, name="test")
