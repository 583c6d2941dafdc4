"""Which sequences to keep: selection to an exact budget in tokens (QuRating §4).

Sampling without replacement with p(d) ∝ exp(s_d / τ) is top-k on s_d / τ + g_d with g_d ~ Gumbel(0, 1). The noise of a
sequence is a function of (seed, id) alone, so that shards, workers and the order of rows cannot change what is chosen.
"""

import hashlib
from collections.abc import Mapping

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]


def select(
    scores: npt.ArrayLike,
    lengths: npt.ArrayLike,
    num_tokens: int,
    *,
    temperature: float = 0.0,
    domains: npt.ArrayLike | None = None,
    ids: npt.ArrayLike | None = None,
    inverse: bool = False,
    seed: int = 0,
) -> Indices:
    """Select sequences up to a budget of tokens; the one that crosses it is the last taken.

    Args:
        scores: (N,) ratings; normalised inside to zero mean and unit deviation over all N.
        lengths: (N,) tokens of each sequence.
        num_tokens: the budget, in tokens.
        temperature: τ. 0 takes the highest scores, infinity draws uniformly, in between p(d) ∝ exp(s_d / τ).
        domains: (N,) labels; the budget is then shared out in proportion to each domain's tokens.
        ids: (N,) integers or strings that the noise depends on; the position where none is given.
        inverse: prefer low scores.
        seed: of the noise.

    Returns:
        int64 indices in corpus order (ascending).

    Raises:
        ValueError: a budget beyond the corpus or not positive, a score that is NaN or infinite, lengths below zero,
            a negative temperature, duplicate ids, or arrays of different lengths.
    """
    scores_n = _finite(scores)
    lengths_n = _lengths(lengths, len(scores_n))
    if not temperature >= 0:
        raise ValueError(f"the temperature must be 0 or more, not {temperature}")
    ids_n = _ids(ids, len(scores_n))
    sign = -1.0 if inverse else 1.0
    keys = sign * scores_n
    if temperature > 0:
        keys = sign * normalise(scores_n) / temperature + gumbel(ids_n, seed)
    return take(keys, lengths_n, num_tokens, domains=domains, ids=ids_n)


def threshold(
    scores: npt.ArrayLike,
    lengths: npt.ArrayLike,
    minimum: float,
    *,
    inverse: bool = False,
    **_: object,
) -> Indices:
    """All sequences with a score of at least `minimum` (at most, if `inverse`), in corpus order; no budget.

    The score is the rating as it stands, not normalised. Raises ValueError for NaN, or where nothing passes.
    """
    scores_n = _finite(scores)
    chosen = np.flatnonzero(scores_n <= minimum if inverse else scores_n >= minimum).astype(np.int64)
    if not len(chosen):
        raise ValueError(
            f"no score is {'at most' if inverse else 'at least'} {minimum}; "
            f"they lie between {scores_n.min():.4g} and {scores_n.max():.4g}"
        )
    return chosen


def top_r(
    scores: npt.ArrayLike,
    lengths: npt.ArrayLike,
    fraction: float,
    *,
    ids: npt.ArrayLike | None = None,
    inverse: bool = False,
    **_: object,
) -> Indices:
    """The ⌊r·N⌋ sequences with the highest scores (DELT), in corpus order; ties by id. Raises ValueError for NaN."""
    scores_n = _finite(scores)
    if not 0 < fraction <= 1:
        raise ValueError(f"the fraction must lie in (0, 1], not {fraction}")
    ranked = rank(-scores_n if inverse else scores_n, _ids(ids, len(scores_n)))
    return np.sort(ranked[: int(fraction * len(scores_n))])


def mix(
    scores: Mapping[str, npt.ArrayLike],
    lengths: npt.ArrayLike,
    num_tokens: int,
    *,
    temperature: float = 2.0,
    domains: npt.ArrayLike | None = None,
    ids: npt.ArrayLike | None = None,
    inverse: bool = False,
    seed: int = 0,
) -> Indices:
    """An equal share of the budget from each criterion's own ranking, no sequence twice.

    The criteria take turns, in the order of `scores`: each time the one that has taken the fewest tokens of a domain
    (the first of those, on a tie) takes its best sequence still free there, until the domain's budget is crossed. A
    sequence that two criteria want thus goes to the first to reach it, and the other goes on down its own list.
    Arguments and errors as for `select`.
    """
    if not scores:
        raise ValueError("a mix needs at least one criterion")
    columns = [_finite(column) for column in scores.values()]
    lengths_n = _lengths(lengths, len(columns[0]))
    ids_n = _ids(ids, len(columns[0]))
    sign = -1.0 if inverse else 1.0
    chosen: list[int] = []
    for members, budget in _budgets(lengths_n, num_tokens, domains):
        rankings = []
        for name, column in zip(scores, columns, strict=True):
            keys = sign * normalise(column)
            if temperature > 0:
                noise_seed = int.from_bytes(
                    hashlib.blake2b(f"{seed}/{name}".encode(), digest_size=8).digest(), "little"
                )
                keys = keys / temperature + gumbel(ids_n, noise_seed >> 1)
            rankings.append(iter(members[rank(keys[members], ids_n[members])].tolist()))
        taken: set[int] = set()
        used = [0] * len(rankings)
        while sum(used) < budget:
            turn = int(np.argmin(used))
            best = next(index for index in rankings[turn] if index not in taken)
            taken.add(best)
            used[turn] += int(lengths_n[best])
        chosen.extend(taken)
    return np.sort(np.array(chosen, dtype=np.int64))


def take(
    keys: Floats,
    lengths: npt.NDArray[np.int64],
    num_tokens: int,
    *,
    domains: npt.ArrayLike | None = None,
    ids: npt.NDArray[np.uint64],
) -> Indices:
    """The highest keys of each domain until its budget is crossed, as indices in corpus order; ties by id."""
    chosen = []
    for members, budget in _budgets(lengths, num_tokens, domains):
        if budget == 0:
            continue
        ranked = members[rank(keys[members], ids[members])]
        # int64: a running sum of tokens passes 2^31 at 2 billion
        before = np.cumsum(lengths[ranked], dtype=np.int64) - lengths[ranked]
        chosen.append(ranked[before < budget])
    return np.sort(np.concatenate(chosen))


def rank(keys: Floats, ids: npt.NDArray[np.uint64]) -> Indices:
    """Indices from the highest key to the lowest; equal keys in the order of their hashed ids."""
    return np.lexsort((ids, -keys)).astype(np.int64)


def normalise(scores: Floats) -> Floats:
    """Zero mean, unit (population) deviation; constant scores become zeros."""
    centred = scores - scores.mean()
    deviation = centred.std()
    # against rounding: the deviation of equal numbers need not be exactly zero
    return centred / deviation if deviation > 1e-12 * max(1.0, float(np.abs(scores).max())) else np.zeros_like(scores)


def shares(num_tokens: int, tokens_of_domains: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """A budget shared out in proportion to each domain's tokens, adding up to it exactly (largest remainders)."""
    total = int(tokens_of_domains.sum())
    # Python's integers: a product of two token counts passes 2^63
    exact = [divmod(num_tokens * int(tokens), total) for tokens in tokens_of_domains]
    result = np.array([whole for whole, _ in exact], dtype=np.int64)
    by_remainder = sorted(range(len(exact)), key=lambda domain: (-exact[domain][1], domain))
    result[by_remainder[: num_tokens - int(result.sum())]] += 1
    return result


def gumbel(ids: npt.NDArray[np.uint64], seed: int) -> Floats:
    """Standard Gumbel noise, one number an id: −log(−log u) with u = hash(seed, id) in (0, 1)."""
    bits = _mix64(_mix64(ids) ^ _mix64(np.array([seed], dtype=np.uint64)))
    # 53 bits, at the middle of their interval: neither 0 nor 1 can occur
    uniform = ((bits >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return -np.log(-np.log(uniform))


def _mix64(values: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of splitmix64 (Steele et al. 2014): a bijection of 64-bit integers that passes for random."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def _budgets(
    lengths: npt.NDArray[np.int64], num_tokens: int, domains: npt.ArrayLike | None
) -> list[tuple[Indices, int]]:
    """(indices, budget) of each domain; raises ValueError if the budget is not to be had."""
    if num_tokens != int(num_tokens):
        raise ValueError(f"the budget must be a whole number of tokens, not {num_tokens}")
    num_tokens, available = int(num_tokens), int(lengths.sum())
    if not 0 < num_tokens <= available:
        raise ValueError(f"the budget is {num_tokens:,} tokens, the corpus holds {available:,}")
    if domains is None:
        return [(np.arange(len(lengths)), num_tokens)]
    codes = np.unique(np.asarray(domains), return_inverse=True)[1]
    if len(codes) != len(lengths):
        raise ValueError(f"{len(codes)} domains for {len(lengths)} scores")
    members = np.split(np.argsort(codes, kind="stable"), np.cumsum(np.bincount(codes))[:-1])
    totals = np.array([lengths[group].sum() for group in members], dtype=np.int64)
    return list(zip(members, shares(num_tokens, totals).tolist(), strict=True))


def _finite(scores: npt.ArrayLike) -> Floats:
    array = np.asarray(scores, dtype=np.float64)
    if array.ndim != 1 or not len(array):
        raise ValueError(f"scores must be one row of at least one number, not of shape {array.shape}")
    bad = np.flatnonzero(~np.isfinite(array))
    if len(bad):
        raise ValueError(f"{len(bad):,} scores are NaN or infinite, the first at position {bad[0]}")
    return array


def _lengths(lengths: npt.ArrayLike, count: int) -> npt.NDArray[np.int64]:
    array = np.asarray(lengths, dtype=np.int64)
    if array.shape != (count,):
        raise ValueError(f"{len(array)} lengths for {count} scores")
    if (array < 0).any():
        raise ValueError("a length is below zero")
    return array


def _ids(ids: npt.ArrayLike | None, count: int) -> npt.NDArray[np.uint64]:
    """Ids as 64-bit integers: integers as they are, strings by their blake2b hash."""
    if ids is None:
        return np.arange(count, dtype=np.uint64)
    array = np.asarray(ids)
    if array.shape != (count,):
        raise ValueError(f"{len(array)} ids for {count} scores")
    if not np.issubdtype(array.dtype, np.integer):
        hashed = (hashlib.blake2b(str(item).encode(), digest_size=8).digest() for item in array)
        array = np.frombuffer(b"".join(hashed), dtype=np.uint64)
    ordered = np.sort(array)
    repeated = ordered[1:][ordered[1:] == ordered[:-1]]
    if len(repeated):
        raise ValueError(f"{len(repeated):,} ids occur twice, for example {repeated[0]}")
    return array.astype(np.uint64)
