"""Shares of some work."""

from hypothesis import given
from hypothesis import strategies as st

from qurating.runtime.shares import Share


@given(st.integers(0, 60), st.integers(1, 9))
def test_items_are_dealt_out_like_cards(size: int, count: int) -> None:
    parts = [Share(index, count).of(range(size)) for index in range(count)]
    assert sorted(item for part in parts for item in part) == list(range(size))
    assert all(item % count == index for index, part in enumerate(parts) for item in part)
