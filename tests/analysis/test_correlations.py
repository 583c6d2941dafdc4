"""Correlations between criteria."""

import numpy as np
import pytest
from rated_example import drawn, rated

from qurating.analysis.correlations import correlations
from qurating.metrics.ranks import spearman


def test_every_two_columns_are_correlated_once() -> None:
    given = drawn()
    more = np.full(200, np.nan)
    more[::5] = given.ratings["style"][::5] + 1
    rows = {(row["first"], row["second"]): row for row in correlations(given, {"annotated": more}).to_pylist()}
    names = ["style", "facts", "annotated", "length"]
    assert list(rows) == [(a, b) for place, a in enumerate(names) for b in names[place + 1 :]]
    one, two = given.ratings["style"], given.ratings["facts"]
    assert rows["style", "facts"]["pearson"] == pytest.approx(np.corrcoef(one, two)[0, 1])
    assert rows["style", "facts"]["spearman"] == pytest.approx(spearman(one, two))
    assert rows["facts", "length"]["spearman"] == pytest.approx(spearman(two, given.lengths))
    assert rows["style", "annotated"]["pearson"] == pytest.approx(1)
    assert rows["style", "annotated"]["num"] == 40
    assert rows["facts", "annotated"]["spearman"] == pytest.approx(spearman(two[::5], more[::5]))


def test_a_constant_column_has_no_correlation() -> None:
    given = rated({"c": [0.1] * 5, "d": [1.0, 2.0, np.nan, 4.0, 5.0]}, ["a"] * 5, [1, 2, 3, 4, 5])
    rows = {(row["first"], row["second"]): row for row in correlations(given, {}).to_pylist()}
    assert rows["c", "d"]["pearson"] is None
    assert rows["c", "length"]["spearman"] is None
    assert rows["d", "length"]["pearson"] == pytest.approx(1)
