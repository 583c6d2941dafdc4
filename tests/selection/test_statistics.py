"""Statistics of scores, and normalising by them."""

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from qurating.selection.statistics import Constancy, normalise


def test_normalising_is_the_definition_whatever_the_scale() -> None:
    rng = np.random.default_rng(0)
    for scale, offset in ((1.0, 0.0), (1e-9, 0.0), (1e6, 1e9), (1e-3, -1e3)):
        scores = rng.normal(size=999) * scale + offset
        expected = (scores - scores.mean()) / scores.std()
        assert np.abs(normalise(scores) - expected).max() < 1e-6
    assert normalise(np.full(5, 0.1)).tolist() == [0.0] * 5
    assert normalise(np.array([3.0])).tolist() == [0.0]


@given(st.lists(st.tuples(st.integers(0, 3), st.sampled_from([0.1 + 0.2, 0.3, 7.0])), max_size=12), st.integers(1, 4))
def test_constant_domains_are_those_of_a_loop(rows: list[tuple[int, float]], size: int) -> None:
    constancy = Constancy(["c", "other"])
    for start in range(0, len(rows), size):
        domains, scores = zip(*rows[start : start + size], strict=True)
        named = {"c": np.array(scores), "other": np.arange(start, start + len(scores), dtype=np.float64)}
        constancy.add(named, np.array(domains, np.int32))
    by_domain = [[round(score, 6) for domain, score in rows if domain == own] for own in range(4)]
    equal = [len(scores) > 1 and len(set(scores)) == 1 for scores in by_domain]
    for name, expected in (("c", equal), ("other", [False] * 4)):
        found = constancy.constant(name).tolist()
        assert found + [False] * (4 - len(found)) == expected
        for domain in np.flatnonzero(constancy.constant(name)):
            assert constancy.counts[domain] == len(by_domain[domain])
    varying = [len(set(scores)) > 1 for scores in by_domain]
    assert constancy.is_constant("c") == (any(equal) and not any(varying))
