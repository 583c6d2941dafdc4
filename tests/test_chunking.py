import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qurating.chunking import weighted_mean, windows


@given(st.integers(0, 2000), st.integers(1, 600))
def test_windows_cover_everything_once(num_tokens: int, max_tokens: int) -> None:
    ids = list(range(num_tokens))
    parts = windows(ids, max_tokens)
    assert [token for part in parts for token in part] == ids
    assert all(len(part) == max_tokens for part in parts[:-1])
    assert all(len(part) <= max_tokens for part in parts)


def test_window_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="at least one token"):
        windows([1, 2], 0)


def test_weighted_mean_matches_token_by_token() -> None:
    rng = np.random.default_rng()
    lengths = rng.integers(1, 512, 6)
    values = rng.normal(size=(6, 4))
    means = np.asarray(weighted_mean(values, lengths))
    for criterion in range(4):
        each_token = [values[w, criterion] for w in range(6) for _ in range(lengths[w])]
        assert means[criterion] == pytest.approx(sum(each_token) / len(each_token), abs=1e-12)
    assert weighted_mean(values[:, 0], lengths) == pytest.approx(means[0])


def test_weighted_mean_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="without tokens"):
        weighted_mean([], [])
    with pytest.raises(ValueError, match="2 values for"):
        weighted_mean([1.0, 2.0], [1])
