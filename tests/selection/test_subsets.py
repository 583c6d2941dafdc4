"""Members of subsets against sets."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qurating.selection.subsets import Members, jaccard

SETS = st.sets(st.integers(0, 40))


@given(SETS, SETS, st.lists(st.integers(0, 9), min_size=41, max_size=41))
def test_overlap_and_difference_are_those_of_sets(a: set[int], b: set[int], lengths: list[int]) -> None:
    def members(rows: set[int]) -> Members:
        positions = np.array(sorted(rows), np.int64)
        return Members(positions, np.array(lengths, np.int64)[positions])

    def tokens(rows: set[int]) -> int:
        return sum(lengths[row] for row in rows)

    expected = tokens(a & b) / tokens(a | b) if tokens(a | b) else 0.0
    assert jaccard(members(a), members(b)) == pytest.approx(expected)
    assert members(a).without(members(b)).positions.tolist() == sorted(a - b)
    assert members(a).among(5, 20).tolist() == [row in a for row in range(5, 25)]
