"""Blocks of tokens by optimizer step."""

from pathlib import Path

import pytest
from training_example import an_order

from qurating.datamodules.tokens import TokenBlocks
from qurating.runtime.errors import StageError


@pytest.fixture
def order(tmp_path: Path) -> Path:
    return an_order(tmp_path / "order")


def test_a_batch_that_devices_cannot_share_is_refused(order: Path) -> None:
    data = TokenBlocks(order, sequence_length=8, batch_size_sequences=4, micro_batch_size=2, vocabulary_size=64)
    assert data.accumulation(1) == 2
    assert data.accumulation(2) == 1
    with pytest.raises(ValueError, match=r"\d devices cannot share \d+ sequences evenly"):
        data.accumulation(3)


def test_a_token_beyond_the_vocabulary_is_named(order: Path) -> None:
    data = TokenBlocks(order, sequence_length=93, batch_size_sequences=4, micro_batch_size=2, vocabulary_size=60)
    with pytest.raises(StageError, match=r"tokens.npy has the token id 63, and the ids of its tokenizer end at 59"):
        data.block(0)


def test_a_stream_in_too_few_bits_for_its_tokenizer_is_refused(order: Path) -> None:
    TokenBlocks(order, sequence_length=8, batch_size_sequences=4, micro_batch_size=2, vocabulary_size=2**16)
    with pytest.raises(StageError, match=r"tokens.npy is of type uint16, .* end at 65,536: .*overwrite=true"):
        TokenBlocks(order, sequence_length=8, batch_size_sequences=4, micro_batch_size=2, vocabulary_size=2**16 + 1)
