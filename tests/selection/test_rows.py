"""Rows to select from."""

import numpy as np
from chosen_rows import chosen


def test_string_ids_are_hashed() -> None:
    names = [f"doc{i}" for i in range(50)]
    one = chosen(np.zeros(50), np.ones(50), 10, temperature=1.0, ids=names, seed=2)
    other = chosen(np.zeros(50), np.ones(50), 10, temperature=1.0, ids=names[::-1], seed=2)
    assert {names[i] for i in one} == {names[::-1][i] for i in other}
