"""Statistics of scores, and normalising by them."""

import numpy as np

from qurating.selection.statistics import normalise


def test_normalising_is_the_definition_whatever_the_scale() -> None:
    rng = np.random.default_rng()
    for scale, offset in ((1.0, 0.0), (1e-9, 0.0), (1e6, 1e9), (1e-3, -1e3)):
        scores = rng.normal(size=999) * scale + offset
        expected = (scores - scores.mean()) / scores.std()
        assert np.abs(normalise(scores) - expected).max() < 1e-6
    assert normalise(np.full(5, 0.1)).tolist() == [0.0] * 5
    assert normalise(np.array([3.0])).tolist() == [0.0]
