"""Samples as one stream of optimizer steps, against a plain loop."""

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from qurating.datamodules.steps import Batch, Samples, StepLoader, padded
from qurating.runtime.errors import StageError


class Numbers(Samples):
    """Samples that are their own numbers; sample n has n % 3 targets."""

    def __init__(self, num_training: int, batch_size: int, micro_batch_size: int, num_epochs: int = 2) -> None:
        super().__init__(batch_size, micro_batch_size, num_epochs, seed=5)
        self.training = np.arange(100, 100 + num_training)
        self.validation = np.arange(3)

    def batch(self, samples: np.ndarray) -> Batch:
        return {"samples": torch.from_numpy(samples)}

    def num_targets(self, samples: np.ndarray) -> int:
        return int((samples % 3).sum())


def test_each_epoch_has_every_sample_in_an_order_of_its_own() -> None:
    data = Numbers(num_training=12, batch_size=4, micro_batch_size=2)
    assert (data.steps_per_epoch, data.num_steps) == (3, 6)
    epochs = [np.concatenate([data.step(step) for step in steps]).tolist() for steps in ((0, 1, 2), (3, 4, 5))]
    assert sorted(epochs[0]) == sorted(epochs[1]) == data.training.tolist()
    assert epochs[0] != epochs[1]
    assert data.step(0).tolist() == epochs[0][:4]  # whatever was asked for before


def test_the_last_step_of_an_epoch_is_filled_up_from_its_start() -> None:
    data = Numbers(num_training=10, batch_size=4, micro_batch_size=2)
    epoch = np.concatenate([data.step(step) for step in range(3)])
    assert sorted(epoch[:10]) == data.training.tolist()
    assert epoch[10:].tolist() == epoch[:2].tolist()


@pytest.mark.parametrize(("num_devices", "micro_batch_size"), [(1, 8), (1, 3), (2, 2), (3, 1)])
def test_weights_make_the_mean_over_devices_and_passes_that_over_the_steps_targets(
    num_devices: int, micro_batch_size: int
) -> None:
    data = Numbers(num_training=20, batch_size=8, micro_batch_size=micro_batch_size)
    passes = data.accumulation(num_devices)
    devices = [list(data.step_batches(1, rank, num_devices, passes)) for rank in range(num_devices)]
    assert all(len(batches) == passes for batches in devices)
    batches = [batch for of_device in devices for batch in of_device]
    seen = [batch["samples"].numpy() for batch in batches]
    assert max(map(len, seen)) <= micro_batch_size
    assert np.concatenate(seen).tolist() == data.step(1).tolist()
    # a loss that is each sample's number, once a target
    means = [(s * (s % 3)).sum() / max(1, (s % 3).sum()) for s in seen]
    got = np.mean([float(batch["weight"]) * mean for batch, mean in zip(batches, means, strict=True)])
    step = data.step(1)
    assert got == pytest.approx((step * (step % 3)).sum() / (step % 3).sum())


def test_more_devices_than_samples_in_a_batch_are_refused() -> None:
    with pytest.raises(StageError, match="a batch of 2 is less than one sample on each of 3 devices"):
        Numbers(num_training=9, batch_size=2, micro_batch_size=1).accumulation(3)


def test_a_loader_goes_on_from_the_trainers_step() -> None:
    data = Numbers(num_training=12, batch_size=4, micro_batch_size=2)
    trainer: Any = SimpleNamespace(global_step=4, global_rank=1, world_size=2, accumulate_grad_batches=2)
    found = [batch["samples"].tolist() for batch in StepLoader(data, trainer)]
    expected = [b["samples"].tolist() for step in (4, 5) for b in data.step_batches(step, 1, 2, 2)]
    assert found == expected
    assert len(found) == 4


def test_texts_are_padded_on_the_right() -> None:
    ids, mask = padded([[5, 6, 7], [], [8]], pad_token_id=9)
    assert ids.tolist() == [[5, 6, 7], [9, 9, 9], [8, 9, 9]]
    assert mask.tolist() == [[1, 1, 1], [0, 0, 0], [1, 0, 0]]
    assert padded([], pad_token_id=9)[0].shape == (0, 1)
