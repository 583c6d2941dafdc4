"""The garbage collector is as it was afterwards, also after an error, and still collects meanwhile."""

import gc
import weakref

import pytest

from qurating.runtime.garbage import rare_collections


class Node:
    """Refers to itself: only a collection frees it."""

    def __init__(self) -> None:
        self.itself = self


def test_it_is_as_it_was_afterwards() -> None:
    threshold = gc.get_threshold()

    def fails() -> None:
        with rare_collections():
            assert gc.get_threshold() > threshold
            assert gc.get_freeze_count() > 0
            raise KeyError

    with pytest.raises(KeyError):
        fails()
    assert gc.get_threshold() == threshold
    assert gc.get_freeze_count() == 0


def test_garbage_is_still_collected() -> None:
    with rare_collections():
        first = weakref.ref(Node())
        kept = [Node() for _ in range(60_000)]  # what is allocated brings a collection about
        assert first() is None
    assert len(kept) == 60_000
