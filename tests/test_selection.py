"""Selection against slow, obvious references."""

import itertools
import math
from collections import Counter

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qurating.selection import gumbel, mix, normalise, select, shares, threshold, top_r


def slow_select(
    scores: list[float],
    lengths: list[int],
    num_tokens: int,
    temperature: float,
    domains: list[str] | None,
    ids: list[int],
    seed: int,
) -> list[int]:
    """Sequence by sequence in plain Python; the noise is the one thing taken from the fast version."""
    mean = math.fsum(scores) / len(scores)
    deviation = math.sqrt(math.fsum((s - mean) ** 2 for s in scores) / len(scores))
    noise = gumbel(np.array(ids, dtype=np.uint64), seed).tolist()
    if temperature == 0:
        keys = scores
    else:
        keys = [(s - mean) / deviation / temperature + g for s, g in zip(scores, noise, strict=True)]
    groups = sorted(set(domains)) if domains else [None]
    total = sum(lengths)
    group_of = domains or [None] * len(scores)  # type: ignore[list-item]
    tokens_of = [sum(n for n, d in zip(lengths, group_of, strict=True) if d == g) for g in groups]
    budgets = [num_tokens * t // total for t in tokens_of]
    remainders = [num_tokens * t % total for t in tokens_of]
    while sum(budgets) < num_tokens:
        best = max(range(len(groups)), key=lambda i: (remainders[i], -i))
        budgets[best] += 1
        remainders[best] = -1
    chosen = []
    for group, budget in zip(groups, budgets, strict=True):
        members = [i for i in range(len(scores)) if group_of[i] == group]
        members.sort(key=lambda i: (-keys[i], ids[i]))
        taken = 0
        for i in members:
            if taken >= budget:
                break
            chosen.append(i)
            taken += lengths[i]
    return sorted(chosen)


@pytest.mark.parametrize("temperature", [0.0, 0.5, 2.0, math.inf])
@pytest.mark.parametrize("by_domain", [False, True])
def test_matches_the_slow_reference(temperature: float, by_domain: bool) -> None:
    rng = np.random.default_rng()
    for _ in range(20):
        n = int(rng.integers(2, 60))
        scores = rng.normal(size=n).round(1)  # rounded: ties
        lengths = rng.integers(0, 20, n)
        lengths[0] = 5
        domains = rng.choice(["a", "b", "c"], n)
        ids = rng.permutation(1000)[:n]
        budget = int(rng.integers(1, lengths.sum() + 1))
        chosen = select(
            scores, lengths, budget, temperature=temperature, domains=domains if by_domain else None, ids=ids, seed=3
        )
        if temperature and np.ptp(scores) == 0:
            continue
        expected = slow_select(
            scores.tolist(),
            lengths.tolist(),
            budget,
            temperature,
            domains.tolist() if by_domain else None,
            ids.tolist(),
            3,
        )
        assert chosen.tolist() == expected
        assert chosen.dtype == np.int64


def test_draws_follow_plackett_luce() -> None:
    """Ordered draws without replacement: P(i, then j) = w_i / Σw · w_j / (Σw − w_i), w = exp(s / τ); χ² test."""
    scores = np.array([0.0, 1.0, 3.0, -1.0])
    temperature, draws = 1.5, 4000
    weights = np.exp(normalise(scores) / temperature)
    ids = np.arange(4, dtype=np.uint64)
    counts: Counter[tuple[int, int]] = Counter()
    for seed in range(draws):
        keys = normalise(scores) / temperature + gumbel(ids, seed)
        first, second = np.argsort(-keys)[:2].tolist()
        counts[first, second] += 1
        # the public function takes the same first
        assert select(scores, [1] * 4, 1, temperature=temperature, seed=seed).tolist() == [first]
    chi_squared = 0.0
    for i, j in itertools.permutations(range(4), 2):
        expected = draws * weights[i] / weights.sum() * weights[j] / (weights.sum() - weights[i])
        chi_squared += (counts[i, j] - expected) ** 2 / expected
    assert chi_squared < 31.3  # the 99.9 % quantile of χ² with 11 degrees of freedom


def test_temperature_zero_is_top_k_and_small_temperatures_approach_it() -> None:
    scores = np.random.default_rng().permutation(200).astype(float)
    top = select(scores, np.ones(200), 50)
    assert set(top) == set(np.argsort(-scores)[:50])
    assert np.array_equal(select(scores, np.ones(200), 50, temperature=1e-6, seed=1), top)
    assert np.array_equal(select(scores, np.ones(200), 50, inverse=True), np.sort(np.argsort(scores)[:50]))


def test_infinite_temperature_is_uniform() -> None:
    scores = np.arange(10.0)
    counts = np.zeros(10)
    for seed in range(2000):
        counts[select(scores, np.ones(10), 3, temperature=math.inf, seed=seed)] += 1
    assert np.abs(counts - 600).max() < 600 * 0.2
    assert np.array_equal(
        select(scores, np.ones(10), 3, temperature=math.inf, seed=1),
        select(scores[::-1], np.ones(10), 3, temperature=math.inf, seed=1),
    )


def test_choice_depends_on_ids_not_on_positions() -> None:
    rng = np.random.default_rng()
    scores, lengths, ids = rng.normal(size=300), rng.integers(1, 9, 300), rng.permutation(10**6)[:300]
    shuffled = rng.permutation(300)
    one = select(scores, lengths, 400, temperature=1.0, ids=ids, seed=7)
    other = select(scores[shuffled], lengths[shuffled], 400, temperature=1.0, ids=ids[shuffled], seed=7)
    assert set(ids[one]) == set(ids[shuffled][other])


@given(st.lists(st.tuples(st.integers(0, 50), st.sampled_from("abcd"), st.integers(-3, 3)), min_size=1, max_size=40))
def test_budgets_are_met_and_crossed_by_one_sequence_a_domain(rows: list[tuple[int, str, int]]) -> None:
    lengths = np.array([length for length, _, _ in rows])
    domains = np.array([domain for _, domain, _ in rows])
    scores = np.array([float(score) for _, _, score in rows])
    total = int(lengths.sum())
    for budget in {1, total // 3, total} - {0}:
        if budget > total:
            continue
        chosen = select(scores, lengths, budget, domains=domains)
        labels = np.unique(domains)
        quotas = shares(budget, np.array([lengths[domains == label].sum() for label in labels]))
        assert quotas.sum() == budget
        for label, quota in zip(labels, quotas, strict=True):
            taken = lengths[chosen][domains[chosen] == label]
            assert taken.sum() >= quota
            assert quota == 0 or taken.sum() - taken.max() < quota


def test_shares_of_budgets_beyond_64_bit_products() -> None:
    tokens = np.array([10**14 + 1, 10**14, 3], dtype=np.int64)
    assert shares(10**12, tokens).sum() == 10**12


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, math.nan], [1, 1], 1), "1 scores are NaN or infinite, the first at position 1"),
        (([1.0, math.inf], [1, 1], 1), "NaN or infinite"),
        (([1.0, 2.0], [1, 1], 3), "the budget is 3 tokens, the corpus holds 2"),
        (([1.0, 2.0], [1, 1], 0), "the budget is 0"),
        (([1.0, 2.0], [1], 1), "1 lengths for 2 scores"),
        (([1.0, 2.0], [1, -1], 1), "below zero"),
        (([], [], 1), "at least one number"),
    ],
)
def test_refuses_bad_input(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        select(*arguments)


def test_refuses_bad_options() -> None:
    with pytest.raises(ValueError, match="temperature"):
        select([1.0, 2.0], [1, 1], 1, temperature=-1)
    with pytest.raises(ValueError, match="ids occur twice"):
        select([1.0, 2.0], [1, 1], 1, ids=[5, 5])
    with pytest.raises(ValueError, match="domains for"):
        select([1.0, 2.0], [1, 1], 1, domains=["a"])


def test_string_ids_are_hashed() -> None:
    names = [f"doc{i}" for i in range(50)]
    one = select(np.zeros(50), np.ones(50), 10, temperature=1.0, ids=names, seed=2)
    other = select(np.zeros(50), np.ones(50), 10, temperature=1.0, ids=names[::-1], seed=2)
    assert {names[i] for i in one} == {names[::-1][i] for i in other}


def test_gumbel_noise_has_its_mean_and_variance() -> None:
    noise = gumbel(np.arange(200_000, dtype=np.uint64), 5)
    assert np.isfinite(noise).all()
    assert abs(noise.mean() - 0.5772) < 0.02
    assert abs(noise.var() - math.pi**2 / 6) < 0.05
    assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 0.01
    assert abs(np.corrcoef(noise, gumbel(np.arange(200_000, dtype=np.uint64), 6))[0, 1]) < 0.01


def test_threshold_and_top_r() -> None:
    scores = np.array([0.5, -1.0, 2.0, 0.5])
    assert threshold(scores, np.ones(4), 0.5).tolist() == [0, 2, 3]
    assert threshold(scores, np.ones(4), 0.0, inverse=True).tolist() == [1]
    with pytest.raises(ValueError, match="between -1 and 2"):
        threshold(scores, np.ones(4), 3.0)
    assert top_r(scores, np.ones(4), 0.5).tolist() == [0, 2]
    assert top_r(scores, np.ones(4), 0.5, inverse=True).tolist() == [0, 1]
    with pytest.raises(ValueError, match="fraction"):
        top_r(scores, np.ones(4), 1.5)


def test_mix_gives_each_criterion_its_share_and_takes_nothing_twice() -> None:
    rng = np.random.default_rng()
    lengths = rng.integers(1, 10, 400)
    scores = {name: rng.normal(size=400) for name in "abcd"}
    chosen = mix(scores, lengths, 800, temperature=0)
    assert len(set(chosen.tolist())) == len(chosen)
    assert 800 <= lengths[chosen].sum() < 800 + lengths.max()
    # criterion by criterion, in turns
    order = {name: np.argsort(-scores[name], kind="stable").tolist() for name in scores}
    used, taken = dict.fromkeys(scores, 0), []
    while sum(used.values()) < 800:
        turn = min(used, key=lambda name: used[name])
        best = next(i for i in order[turn] if i not in taken)
        taken.append(best)
        used[turn] += int(lengths[best])
    assert sorted(taken) == chosen.tolist()


def test_mix_of_one_criterion_is_its_top_k() -> None:
    scores = np.random.default_rng().normal(size=100)
    assert np.array_equal(mix({"a": scores}, np.ones(100), 30, temperature=0), select(scores, np.ones(100), 30))
