"""Blocks of tokens by optimizer step."""

from pathlib import Path

import pytest
from training_example import an_order

from qurating.datamodules.tokens import TokenBlocks


@pytest.fixture
def order(tmp_path: Path) -> Path:
    return an_order(tmp_path / "order")


def test_a_batch_that_devices_cannot_share_is_refused(order: Path) -> None:
    data = TokenBlocks(order, sequence_length=8, batch_size_sequences=4, micro_batch_size=2)
    assert data.accumulation(1) == 2
    assert data.accumulation(2) == 1
    with pytest.raises(ValueError, match=r"\d devices cannot share \d+ sequences evenly"):
        data.accumulation(3)
