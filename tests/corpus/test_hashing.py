"""Hashes of ids and of words."""

import numpy as np
import pytest

from qurating.corpus.hashing import WordHashes, as_ids
from qurating.rating.importance import Buckets


def test_a_full_memory_of_words_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["one two three", "four five six seven", "one seven"]
    expected = [Buckets(1000).of([text])[0].tolist() for text in texts]
    monkeypatch.setattr(WordHashes, "_MAX_KNOWN", 4)
    small = Buckets(1000)
    assert [small.of([text])[0].tolist() for text in texts] == expected
    assert len(small._words._known) <= 4


def test_ids_are_64_bits() -> None:
    assert as_ids(np.array([-1, 2])).tolist() == [2**64 - 1, 2]
    assert as_ids(np.array([1, 2], dtype=np.int32)).tolist() == [1, 2]
    assert as_ids(["a", "b"])[0] != as_ids(["b", "a"])[0]
