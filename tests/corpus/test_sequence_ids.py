"""Ids of sequences, and the check for repeated ids."""

import pytest

from qurating.corpus.sequence_ids import SeenIds
from qurating.runtime.errors import StageError


def test_seen_ids_over_many_batches() -> None:
    seen = SeenIds()
    for start in range(0, 5000, 50):
        seen.add([f"d{i}" for i in range(start, start + 50)])
    assert len(seen.runs) <= 8
    for old in ("d0", "d2345", "d4999"):
        with pytest.raises(StageError, match=f"'{old}'"):
            seen.add(["new", old, "newer"])
    with pytest.raises(StageError, match="'twice'"):
        seen.add(["once", "twice", "twice"])
    seen.add(["new", "newer"])
