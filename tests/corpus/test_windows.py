import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qurating.corpus.windows import weighted_mean, weighted_means, window_lengths, windows


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
    rng = np.random.default_rng(0)
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


@given(st.lists(st.integers(1, 200), max_size=30), st.integers(1, 60))
def test_many_sequences_at_once_match_one_at_a_time(lengths: list[int], max_tokens: int) -> None:
    parts = [[len(part) for part in windows(range(length), max_tokens)] for length in lengths]
    of_windows, num_windows = window_lengths(np.array(lengths, np.int64), max_tokens)
    assert of_windows.tolist() == [length for part in parts for length in part]
    assert num_windows.tolist() == [len(part) for part in parts]
    values = np.random.default_rng(0).normal(size=(len(of_windows), 2))
    rows = np.split(values, np.cumsum(num_windows))
    expected = [weighted_mean(row, part) for row, part in zip(rows, parts, strict=False)]
    found = weighted_means(values, of_windows, num_windows)
    np.testing.assert_allclose(found, np.array(expected).reshape(-1, 2), rtol=1e-12, atol=1e-14)
