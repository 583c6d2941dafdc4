"""Blocks of tokens by optimizer step."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from training_example import an_order

from qurating.artifacts.files import write_table
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


def test_a_step_names_the_sequences_that_it_reads(order: Path) -> None:
    """Sequences of 10 tokens, steps of 32: the fourth sequence is read by two steps."""
    data = TokenBlocks(order, sequence_length=8, batch_size_sequences=4, micro_batch_size=2, vocabulary_size=64)
    place = order / "order.parquet"
    assert data.describe_step(0) == f"rows 0 to 3 of {place}, the sequences with the ids 100, 101, 102, 103"
    assert data.describe_step(1) == f"rows 3 to 6 of {place}, the sequences with the ids 103, 104, 105, 106"
    assert data.describe_step(2).startswith("rows 6 to 9 of ")


def test_many_sequences_are_named_by_their_rows(tmp_path: Path) -> None:
    starts = np.arange(50, dtype=np.int64)
    write_table(
        tmp_path / "order.parquet",
        pa.table({"id": 7 * starts, "offset": starts, "length": np.ones(50, np.int32)}),
    )
    np.save(tmp_path / "tokens.npy", np.zeros(50, np.uint16))
    data = TokenBlocks(tmp_path, sequence_length=8, batch_size_sequences=4, micro_batch_size=2, vocabulary_size=64)
    assert data.describe_step(1).startswith("rows 32 to 49 of ")
    assert "more" not in data.describe_step(1)
    assert data.describe_step(0).startswith("rows 0 to 31 of ")
    assert data.describe_step(0).endswith("126, 133 and 12 more")


def test_a_token_beyond_the_vocabulary_is_named(order: Path) -> None:
    data = TokenBlocks(order, sequence_length=93, batch_size_sequences=4, micro_batch_size=2, vocabulary_size=60)
    with pytest.raises(StageError, match=r"tokens.npy has the token id 63, and the ids of its tokenizer end at 59"):
        data.block(0)


def test_a_stream_in_too_few_bits_for_its_tokenizer_is_refused(order: Path) -> None:
    TokenBlocks(order, sequence_length=8, batch_size_sequences=4, micro_batch_size=2, vocabulary_size=2**16)
    with pytest.raises(StageError, match=r"tokens.npy is of type uint16, .* end at 65,536: .*overwrite=true"):
        TokenBlocks(order, sequence_length=8, batch_size_sequences=4, micro_batch_size=2, vocabulary_size=2**16 + 1)
