"""Selection against slow, obvious references."""

import itertools
import math
from collections import Counter
from typing import Any

import numpy as np
import pytest
from chosen_rows import chosen
from hypothesis import given
from hypothesis import strategies as st

from qurating.selection import statistics
from qurating.selection.budgets import shares
from qurating.selection.noise import gumbel
from qurating.selection.rows import Arrays
from qurating.selection.rules import mix, pool, threshold, top_r
from qurating.selection.statistics import normalise

ROWS = st.lists(st.tuples(st.integers(0, 50), st.sampled_from("abcd"), st.integers(-3, 3)), min_size=1, max_size=40)


def slow_keys(
    columns: dict[str, list[float]], domains: list[str], ids: list[int], seed: int, **settings: Any
) -> list[float]:
    """What rows are ranked by, in plain Python; the noise is the one thing taken from the fast version."""

    def standard(values: list[float]) -> list[float]:
        if settings["normalisation"] == "none":
            return values
        found = [0.0] * len(values)
        for domain in set(domains) if settings["normalisation"] == "per_domain" else {None}:
            rows = [i for i in range(len(values)) if domain in (None, domains[i])]
            mean = math.fsum(values[i] for i in rows) / len(rows)
            deviation = math.sqrt(math.fsum((values[i] - mean) ** 2 for i in rows) / len(rows))
            for i in rows:
                found[i] = (values[i] - mean) / deviation if deviation > 1e-12 else 0.0
        return found

    each = [standard(values) for values in columns.values()]
    if settings.get("combination") == "sum":
        weights = [settings["weights"][name] for name in columns]
        score = standard([sum(w * v for w, v in zip(weights, row, strict=True)) for row in zip(*each, strict=True)])
    elif settings.get("combination") == "minimum":
        score = standard([min(row) for row in zip(*each, strict=True)])
    else:
        (score,) = each
    temperature, sign = settings["temperature"], -1 if settings.get("inverse") else 1
    noise = gumbel(np.array(ids, dtype=np.uint64), seed).tolist()
    if math.isinf(temperature):
        return noise
    return [sign * s + temperature * g if temperature else sign * s for s, g in zip(score, noise, strict=True)]


def slow_take(
    keys: list[float], lengths: list[int], budgets: dict[str, int], domains: list[str], ids: list[int]
) -> list[int]:
    """Sequence by sequence."""
    taken = []
    for domain, budget in budgets.items():
        tokens = 0
        for i in sorted((i for i in range(len(keys)) if domains[i] == domain), key=lambda i: (-keys[i], ids[i])):
            if tokens >= budget:
                break
            taken.append(i)
            tokens += lengths[i]
    return sorted(taken)


def slow_budgets(num_tokens: int, lengths: list[int], domains: list[str]) -> dict[str, int]:
    names, total = sorted(set(domains)), sum(lengths)
    there = [sum(n for n, d in zip(lengths, domains, strict=True) if d == name) for name in names]
    found = [num_tokens * tokens // total for tokens in there]
    left = sorted(range(len(names)), key=lambda i: (-(num_tokens * there[i] % total), i))
    for i in left[: num_tokens - sum(found)]:
        found[i] += 1
    return dict(zip(names, found, strict=True))


@pytest.mark.parametrize("temperature", [0.0, 0.5, 2.0, math.inf])
@pytest.mark.parametrize("normalisation", ["global", "per_domain", "none"])
@pytest.mark.parametrize("combination", [None, "sum", "minimum"])
def test_matches_the_slow_reference(temperature: float, normalisation: str, combination: str | None) -> None:
    rng = np.random.default_rng(0)
    for attempt in range(12):
        # with few rows in a domain, combined scores tie but for rounding
        n = int(rng.integers(40 if combination else 2, 60))
        names = "abc" if combination else "a"
        # top-k of values that tie exactly only as they stand: sums of rounded numbers need not
        digits = 1 if temperature and not combination else 15
        columns = {name: rng.normal(size=n).round(digits) for name in names}
        lengths = rng.integers(0, 20, n)
        lengths[0] = 5
        domains = rng.choice(["a", "b", "c"], n) if attempt % 2 else np.full(n, "all")
        ids = rng.permutation(1000)[:n]
        budget = int(rng.integers(1, lengths.sum() + 1))
        settings: dict[str, Any] = {"temperature": temperature, "normalisation": normalisation}
        settings |= {"combination": combination, "inverse": bool(attempt % 3)}
        if combination == "sum":
            settings["weights"] = {name: float(rng.uniform()) for name in names}
        about = {"domains": domains, "ids": ids, "chunk_size": int(rng.integers(1, 70))}
        keys = slow_keys({k: v.tolist() for k, v in columns.items()}, domains.tolist(), ids.tolist(), 3, **settings)
        quotas = slow_budgets(budget, lengths.tolist(), domains.tolist())
        expected = slow_take(keys, lengths.tolist(), quotas, domains.tolist(), ids.tolist())
        assert chosen(columns, lengths, budget, seed=3, **about, **settings) == expected


def test_draws_follow_plackett_luce() -> None:
    """Ordered draws without replacement: P(i, then j) = w_i / Σw · w_j / (Σw − w_i), w = exp(s / τ); χ² test."""
    scores = np.array([0.0, 1.0, 3.0, -1.0])
    temperature, draws = 1.5, 4000
    weights = np.exp(normalise(scores) / temperature)
    first: Counter[int] = Counter()
    pairs: Counter[frozenset[int]] = Counter()
    for seed in range(draws):
        one = chosen(scores, [1] * 4, 1, temperature=temperature, seed=seed)
        two = chosen(scores, [1] * 4, 2, temperature=temperature, seed=seed)
        assert set(one) < set(two)
        first[one[0]] += 1
        pairs[frozenset(two)] += 1
    shares = weights / weights.sum()
    chi_squared = sum((first[i] - draws * shares[i]) ** 2 / (draws * shares[i]) for i in range(4))
    assert chi_squared < 16.3  # the 99.9 % quantile of χ² with 3 degrees of freedom
    chi_squared = 0.0
    for i, j in itertools.combinations(range(4), 2):
        expected = draws * (shares[i] * shares[j] / (1 - shares[i]) + shares[j] * shares[i] / (1 - shares[j]))
        chi_squared += (pairs[frozenset((i, j))] - expected) ** 2 / expected
    assert chi_squared < 20.5  # 5 degrees of freedom


def test_temperature_zero_is_top_k_and_small_temperatures_approach_it() -> None:
    scores = np.random.default_rng(0).permutation(200).astype(float)
    top = chosen(scores, np.ones(200), 50)
    assert set(top) == set(np.argsort(-scores)[:50].tolist())
    assert chosen(scores, np.ones(200), 50, temperature=1e-6, seed=1) == top
    assert chosen(scores, np.ones(200), 50, temperature=1e-300, seed=1) == top
    assert chosen(scores, np.ones(200), 50, inverse=True) == sorted(np.argsort(scores)[:50].tolist())


def test_infinite_temperature_is_uniform_and_large_ones_approach_it() -> None:
    scores = np.arange(10.0)
    counts = np.zeros(10)
    for seed in range(2000):
        uniform = chosen(scores, np.ones(10), 3, temperature=math.inf, seed=seed)
        counts[uniform] += 1
        assert uniform == chosen(scores, np.ones(10), 3, temperature=1e9, seed=seed)
    assert ((counts - 600) ** 2 / 600).sum() < 27.9  # the 99.9 % quantile of χ² with 9 degrees of freedom
    assert chosen(None, np.ones(10), 3, temperature=math.inf, seed=1) == chosen(
        scores[::-1], np.ones(10), 3, temperature=math.inf, seed=1
    )
    with pytest.raises(ValueError, match="without scores, the temperature must be infinite"):
        chosen(None, np.ones(10), 3)


@given(st.integers(0, 2**32), st.sampled_from([0.0, 1.0, math.inf]), st.sampled_from(["global", "per_domain"]))
def test_order_and_chunks_of_rows_change_nothing(seed: int, temperature: float, normalisation: str) -> None:
    rng = np.random.default_rng(seed)
    n = 200
    scores, lengths, ids = rng.normal(size=n).round(1), rng.integers(0, 9, n), rng.permutation(10**6)[:n]
    domains = rng.choice(list("abc"), n)
    settings: dict[str, Any] = {"temperature": temperature, "normalisation": normalisation, "seed": 7}
    one = chosen(scores, lengths, 300, ids=ids, domains=domains, **settings)
    moved = rng.permutation(n)
    about: dict[str, Any] = {"ids": ids[moved], "domains": domains[moved], "chunk_size": int(rng.integers(1, n))}
    other = chosen(scores[moved], lengths[moved], 300, **about, **settings)
    assert set(ids[one].tolist()) == set(ids[moved][other].tolist())


@given(ROWS)
def test_budgets_are_met_and_crossed_by_one_sequence_a_domain(rows: list[tuple[int, str, int]]) -> None:
    lengths = np.array([length for length, _, _ in rows])
    domains = np.array([domain for _, domain, _ in rows])
    scores = np.array([float(score) for _, _, score in rows])
    total = int(lengths.sum())
    for budget in {1, total // 3, total} - {0}:
        if budget > total:
            continue
        taken = chosen(scores, lengths, budget, domains=domains, temperature=1.0)
        labels = np.unique(domains)
        quotas = shares(budget, [int(lengths[domains == label].sum()) for label in labels])
        assert sum(quotas) == budget
        for label, quota in zip(labels, quotas, strict=True):
            of_domain = lengths[taken][domains[taken] == label]
            assert of_domain.sum() >= quota
            assert quota == 0 or of_domain.sum() - of_domain.max() < quota
            assert quota > 0 or not len(of_domain)


@given(ROWS, st.integers(0, 39))
def test_a_score_that_is_no_number_is_never_ranked(rows: list[tuple[int, str, int]], place: int) -> None:
    scores = [float(score) for _, _, score in rows]
    scores[place % len(rows)] = (math.nan, math.inf, -math.inf)[place % 3]
    lengths = [length + 1 for length, _, _ in rows]
    for temperature in (0.0, 1.0, math.inf):
        with pytest.raises(ValueError, match=f"1 scores by score are NaN or infinite, .* {place % len(rows)}, of id"):
            chosen(scores, lengths, 1, temperature=temperature)


def test_weights_of_domains_are_their_shares() -> None:
    rng = np.random.default_rng(0)
    lengths, domains = rng.integers(1, 20, 900), np.repeat(["a", "b", "c"], 300)
    settings: dict[str, Any] = {"domains": domains, "domain_weights": {"a": 3, "b": 1}, "temperature": 1.0}
    taken = np.array(chosen(rng.normal(size=900), lengths, 1000, **settings))
    tokens = {name: int(lengths[taken][domains[taken] == name].sum()) for name in "abc"}
    assert 750 <= tokens["a"] < 770
    assert 250 <= tokens["b"] < 270
    assert tokens["c"] == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0, math.nan], [1, 1], 1), "1 scores by score are NaN or infinite, the first at position 1, of id 1"),
        (([1.0, math.inf], [1, 1], 1), "NaN or infinite"),
        (([1.0, 2.0], [1, 1], 3), "the budget is 3 tokens, the corpus holds 2"),
        (([1.0, 2.0], [1, 1], 0), "the budget is 0"),
        (([1.0, 2.0], [1], 1), "2 score for 1 lengths"),
        (([1.0, 2.0], [1, -1], 1), "the length of id 1 is below zero"),
        (([], [], 1), "no sequence to select from"),
    ],
)
def test_refuses_bad_input(arguments: tuple, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        chosen(*arguments)


def test_refuses_bad_options() -> None:
    two = [1.0, 2.0], [1, 1], 1
    with pytest.raises(ValueError, match="temperature"):
        chosen(*two, temperature=-1)
    with pytest.raises(ValueError, match="temperature"):
        chosen(*two, temperature=math.nan)
    with pytest.raises(ValueError, match=r"inf: uniform\), not \.inf"):
        chosen(*two, temperature=".inf")
    with pytest.raises(ValueError, match="1 ids occur twice, for example -5"):
        chosen(*two, ids=[-5, -5])
    with pytest.raises(ValueError, match="1 domains for 2"):
        chosen(*two, domains=["a"])
    with pytest.raises(ValueError, match="normalisation is global, per_domain or none, not 'local'"):
        chosen(*two, normalisation="local")
    several = {"a": [1.0, 2.0], "b": [1.0, 2.0]}, [1, 1], 1
    with pytest.raises(ValueError, match=r"by one criterion, not by 2 \(a, b\)"):
        chosen(*several)
    with pytest.raises(ValueError, match="by sum or minimum, not by 'maximum'"):
        chosen(*several, combination="maximum")
    with pytest.raises(ValueError, match="weights are of a, c; the criteria are a, b"):
        chosen(*several, combination="sum", weights={"a": 1, "c": 1})
    with pytest.raises(ValueError, match="weights of criteria are not all 0"):
        chosen(*several, combination="sum", weights={"a": 0, "b": 0})


def test_threshold_and_top_r() -> None:
    scores = np.array([0.5, -1.0, 2.0, 0.5])
    rows = Arrays(scores, np.ones(4))
    assert threshold(rows, minimum=0.5, seed=0).indices().tolist() == [0, 2, 3]
    assert threshold(rows, minimum=0.0, inverse=True, seed=0).indices().tolist() == [1]
    with pytest.raises(ValueError, match="between -1 and 2"):
        threshold(rows, minimum=3.0, seed=0)
    assert top_r(rows, fraction=0.5, seed=0).indices().tolist() == [0, 2]
    assert top_r(rows, fraction=0.5, inverse=True, seed=0).indices().tolist() == [0, 1]
    for fraction, message in ((1.5, "must lie in"), (0.0, "must lie in"), (0.1, "of 4 sequences is none")):
        with pytest.raises(ValueError, match=message):
            top_r(rows, fraction=fraction, seed=0)


@pytest.mark.parametrize("weights", [None, {"a": 2.0, "b": 1.0, "c": 0.0, "d": 1.0}])
@pytest.mark.parametrize("temperature", [0.0, 2.0])
def test_mix_gives_each_criterion_its_share_and_takes_nothing_twice(
    weights: dict[str, float] | None, temperature: float
) -> None:
    """Criterion by criterion, each down its own list, past what is gone."""
    rng = np.random.default_rng(0)
    lengths, domains, ids = rng.integers(0, 10, 400), rng.choice(["x", "y"], 400), rng.permutation(999)[:400]
    scores = {name: rng.normal(size=400) for name in "abcd"}
    rows = Arrays(scores, lengths, domains=domains, ids=ids, chunk_size=37)
    found = mix(rows, num_tokens=700, temperature=temperature, weights=weights, seed=5).indices()
    from qurating.selection.rules import _seed_of

    each = slow_budgets(700, lengths.tolist(), domains.tolist())
    parts = {
        domain: shares(budget, list((weights or dict.fromkeys("abcd", 1.0)).values()))
        for domain, budget in each.items()
    }
    taken: list[int] = []
    for place, (name, values) in enumerate(scores.items()):
        settings = {"temperature": temperature, "normalisation": "global"}
        keys = slow_keys({name: values.tolist()}, domains.tolist(), ids.tolist(), _seed_of(5, name), **settings)
        for domain in each:
            upto = sum(parts[domain][: place + 1])
            free = (i for i in range(400) if domains[i] == domain and i not in taken)
            for i in sorted(free, key=lambda i: (-keys[i], ids[i])):
                if sum(int(lengths[j]) for j in taken if domains[j] == domain) >= upto:
                    break
                taken.append(i)
    assert found.tolist() == sorted(taken)
    for domain, budget in each.items():
        of_domain = lengths[found][domains[found] == domain]
        assert budget <= of_domain.sum() < budget + 10


def test_mix_of_one_criterion_is_its_top_k_and_of_none_an_error() -> None:
    scores = np.random.default_rng(0).normal(size=100)
    one = mix(Arrays({"a": scores}, np.ones(100)), num_tokens=30, temperature=0, seed=0).indices()
    assert one.tolist() == chosen(scores, np.ones(100), 30)
    with pytest.raises(ValueError, match="at least one criterion"):
        mix(Arrays(None, np.ones(3)), num_tokens=3, seed=0)
    two = Arrays({"a": scores, "b": scores}, np.ones(100))
    with pytest.raises(ValueError, match="weights of criteria are 0 or more, and one of them above"):
        mix(two, num_tokens=30, seed=0, weights={"a": 2, "b": -1})


@pytest.mark.parametrize("inverse", [False, True])
@pytest.mark.parametrize("sample_size", [1, 30, 10**6])
def test_a_pool_is_that_of_the_slow_reference_and_the_draw_from_it_too(
    inverse: bool, sample_size: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statistics, "SAMPLE_SIZE", sample_size)
    rng = np.random.default_rng(0)
    for attempt in range(15):
        n = int(rng.integers(2, 90))
        scores, lengths, ids = rng.normal(size=n).round(1), rng.integers(0, 20, n), rng.permutation(1000)[:n]
        lengths[0] = 5
        domains = rng.choice(["a", "b", "c"], n) if attempt % 2 else np.full(n, "all")
        fraction = float(rng.uniform(0.2, 1))
        size = round(fraction * int(lengths.sum()))
        budget = int(rng.integers(1, size + 1))
        lists: dict[str, Any] = {"lengths": lengths.tolist(), "domains": domains.tolist()}
        quotas = {name: slow_budgets(tokens, **lists) for name, tokens in (("pool", size), ("draw", budget))}
        # a domain's share of a smaller budget may be rounded up
        quotas["pool"] = {name: max(tokens, quotas["draw"][name]) for name, tokens in quotas["pool"].items()}
        keys = [-score if inverse else score for score in scores.tolist()]
        held = slow_take(keys, budgets=quotas["pool"], ids=ids.tolist(), **lists)
        noise = gumbel(ids.astype(np.uint64), 3).tolist()
        of_pool = {name: [values[i] for i in held] for name, values in lists.items()}
        drawn = slow_take([noise[i] for i in held], budgets=quotas["draw"], ids=ids[held].tolist(), **of_pool)
        rows = Arrays(scores, lengths, domains=domains, ids=ids, chunk_size=int(rng.integers(1, 70)))
        found = pool(rows, num_tokens=budget, fraction=fraction, inverse=inverse, seed=3).indices().tolist()
        assert found == [held[i] for i in drawn]


def test_a_pool_of_everything_is_uniform_and_a_pool_of_the_budget_is_top_k() -> None:
    rng = np.random.default_rng(0)
    scores, lengths, domains = rng.normal(size=200), rng.integers(1, 9, 200), rng.choice(list("ab"), 200)
    rows = Arrays(scores, lengths, domains=domains)
    whole = pool(rows, num_tokens=300, fraction=1, seed=7).indices().tolist()
    assert whole == chosen(None, lengths, 300, domains=domains, temperature=math.inf, seed=7)
    of_one_length = Arrays(scores, np.ones(200), domains=domains)
    exact = pool(of_one_length, num_tokens=80, fraction=0.4, seed=7).indices().tolist()
    assert exact == chosen(scores, np.ones(200), 80, domains=domains)


def test_every_sequence_of_the_pool_is_as_likely_and_no_other_is_drawn() -> None:
    scores = np.random.default_rng(0).permutation(40).astype(float)
    counts = np.zeros(40)
    for seed in range(1500):
        counts[pool(Arrays(scores, np.ones(40)), num_tokens=4, fraction=0.25, seed=seed).indices()] += 1
    assert (counts > 0).tolist() == (scores >= 30).tolist()
    inside = counts[counts > 0]
    assert ((inside - 600) ** 2 / 600).sum() < 27.9  # the 99.9 % quantile of χ² with 9 degrees of freedom


def test_a_pool_shares_the_budget_by_given_weights_up_to_what_it_holds() -> None:
    rows = Arrays(np.arange(200.0), np.ones(200), domains=np.repeat(["a", "b"], 100))
    drawn = pool(rows, num_tokens=30, fraction=0.2, domain_weights={"a": 1, "b": 2}, seed=0).indices()
    assert ((drawn >= 80) & (drawn < 100)).sum() == 10
    assert (drawn >= 180).sum() == 20
    weights: dict[str, Any] = {"num_tokens": 30, "fraction": 0.2, "domain_weights": {"b": 29, "a": 1}, "seed": 0}
    with pytest.raises(ValueError, match=r"in the pool, a fraction of 0\.2 .* domain b is 29 tokens, and it holds 20"):
        pool(rows, **weights)
    drawn = pool(rows, **weights, on_short_domain="redistribute").indices()
    assert drawn[10:].tolist() == list(range(180, 200))
    assert len(drawn) == 30


def test_a_pool_that_cannot_fill_the_budget_is_refused_with_the_way_out() -> None:
    rows = Arrays(np.arange(100.0), np.full(100, 10))
    message = "is 334 tokens, and the pool has 200, a fraction of 0.2 of 1,000: raise fraction to at least 0.334"
    with pytest.raises(ValueError, match=message):
        pool(rows, num_tokens=334, fraction=0.2, seed=0)
    assert len(pool(rows, num_tokens=334, fraction=0.334, seed=0).indices()) == 34
    with pytest.raises(ValueError, match="the budget is 1,001 tokens, the corpus holds 1,000"):
        pool(rows, num_tokens=1001, fraction=0.2, seed=0)
    for fraction in (0, 1.5, -1, math.nan, True):
        with pytest.raises(ValueError, match=r"must lie in \(0, 1\]"):
            pool(rows, num_tokens=1, fraction=fraction, seed=0)
    with pytest.raises(ValueError, match="by one criterion, not by 0"):
        pool(Arrays(None, np.ones(3)), num_tokens=1, fraction=0.5, seed=0)
