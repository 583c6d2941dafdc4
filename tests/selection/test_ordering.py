"""Orders against the papers' definitions, spelt out."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest

from qurating.selection.ordering import curriculum, digest, fold, shuffle, sort


def test_fold_is_the_papers_definition() -> None:
    rng = np.random.default_rng(0)
    for folds in (1, 2, 3, 7):
        scores = rng.normal(size=25)
        ranked = sorted(range(25), key=lambda i: scores[i])
        layers = [[index for rank, index in enumerate(ranked) if rank % folds == layer] for layer in range(folds)]
        assert fold(scores, folds).tolist() == [index for layer in layers for index in layer]
    assert fold([3.0, 1.0, 2.0, 0.0], 2).tolist() == [3, 2, 1, 0]
    assert fold([3.0, 1.0, 2.0, 0.0], 2, descending=True).tolist() == [0, 1, 2, 3]
    with pytest.raises(ValueError, match="at least one, not 0"):
        fold([1.0], 0)
    with pytest.raises(ValueError, match=r"whole number, at least one, not 2\.5"):
        fold([1.0], 2.5)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="1 scores are NaN"):
        fold([1.0, math.nan], 2)


def test_windows_shuffle_runs_within_a_layer() -> None:
    draw = np.random.default_rng(0)
    ids, scores = draw.permutation(10**6)[:103], draw.normal(size=103)
    plain = fold(scores, 3, ids)
    order = fold(scores, 3, ids, window=8, seed=1)
    starts = [0, 35, 69, 103]  # of the layers: 35, 34 and 34 sequences
    moved = 0
    for start, end in itertools.pairwise(starts):
        for begin in range(start, end, 8):
            run = slice(begin, min(begin + 8, end))
            assert set(order[run]) == set(plain[run])
            moved += int((order[run] != plain[run]).sum())
    assert moved > 60
    # by seed and id alone, not by the order of the rows
    back = fold(scores[::-1], 3, ids[::-1], window=8, seed=1)
    assert ids[::-1][back].tolist() == ids[order].tolist()
    assert fold(scores, 3, ids, window=8, seed=2).tolist() != order.tolist()
    assert fold(scores, 3, ids, window=1, seed=1).tolist() == plain.tolist()
    with pytest.raises(ValueError, match="the window must be a whole number, at least one, not 0"):
        fold(scores, 3, ids, window=0)


def test_fold_with_more_folds_than_scores_is_sorting() -> None:
    assert fold([2.0, 1.0], 5).tolist() == [1, 0]


def test_sort_breaks_ties_by_id() -> None:
    assert sort([1.0, 0.0, 1.0], [9, 5, 3]).tolist() == [1, 2, 0]
    assert sort([1.0, 0.0, 1.0], [9, 5, 3], descending=True).tolist() == [2, 0, 1]


def test_shuffle_depends_on_ids_and_seed_alone() -> None:
    ids = np.random.default_rng(0).permutation(10**6)[:500]
    order = ids[shuffle(ids, 1)]
    assert np.array_equal(ids[::-1][shuffle(ids[::-1], 1)], order)
    assert not np.array_equal(ids[shuffle(ids, 2)], order)
    assert sorted(shuffle(ids, 1).tolist()) == list(range(500))


def test_shuffle_is_even() -> None:
    first = Counter(int(shuffle(np.arange(4), seed)[0]) for seed in range(2000))
    assert all(abs(count - 500) < 100 for count in first.values())


def test_curriculum_draws_by_weight() -> None:
    """The first draw takes i with probability exp(s_i / τ) / Σ exp(s_j / τ)."""
    scores = np.array([0.0, 2.0, 4.0])
    standard = (scores - scores.mean()) / scores.std()
    weights = np.exp(standard / 1.5)
    first = Counter(int(curriculum(scores, np.arange(3), 1.5, seed)[0]) for seed in range(4000))
    for i in range(3):
        assert abs(first[i] / 4000 - weights[i] / weights.sum()) < 0.03


def test_curriculum_at_zero_is_sorting_and_reverses() -> None:
    scores = np.random.default_rng(0).normal(size=30)
    down = curriculum(scores, np.arange(30), 0.0, seed=1)
    assert down.tolist() == np.argsort(-scores).tolist()
    assert (
        curriculum(scores, np.arange(30), 2.0, 1)[::-1].tolist()
        == curriculum(scores, np.arange(30), 2.0, 1, descending=False).tolist()
    )
    with pytest.raises(ValueError, match="temperature"):
        curriculum(scores, np.arange(30), -1.0, 1)


def test_digest_is_of_the_order() -> None:
    assert digest(np.array([1, 2])) != digest(np.array([2, 1]))
    assert digest(np.array([1, 2], dtype=np.int64)) == digest(np.array([1, 2], dtype=np.int32))
