"""The noise of sequences: spread as it should be, and the same everywhere."""

import math

import numpy as np

from qurating.selection.noise import gumbel


def test_gumbel_noise_has_its_mean_and_variance() -> None:
    noise = gumbel(np.arange(200_000, dtype=np.uint64), 5)
    assert np.isfinite(noise).all()
    assert abs(noise.mean() - 0.5772) < 0.02
    assert abs(noise.var() - math.pi**2 / 6) < 0.05
    assert abs(np.corrcoef(noise[:-1], noise[1:])[0, 1]) < 0.01
    assert abs(np.corrcoef(noise, gumbel(np.arange(200_000, dtype=np.uint64), 6))[0, 1]) < 0.01
    quantiles = np.quantile(noise, [0.1, 0.5, 0.9])
    assert np.abs(quantiles - -np.log(-np.log([0.1, 0.5, 0.9]))).max() < 0.02


def test_noise_is_what_it_was() -> None:
    """Against plain Python: another platform or version must not draw another subset."""

    def mixed(value: int) -> int:
        value = (value + 0x9E3779B97F4A7C15) % 2**64
        value = (value ^ (value >> 30)) * 0xBF58476D1CE4E5B9 % 2**64
        value = (value ^ (value >> 27)) * 0x94D049BB133111EB % 2**64
        return value ^ (value >> 31)

    rng = np.random.default_rng(0)
    for seed in rng.integers(0, 2**63, 20).tolist():
        identifier = int(rng.integers(0, 2**64, dtype=np.uint64))
        u = ((mixed(mixed(identifier) ^ mixed(seed)) >> 12) + 0.5) / 2**52
        assert 0 < u < 1
        found = gumbel(np.array([identifier], dtype=np.uint64), seed)[0]
        assert math.isclose(found, -math.log(-math.log(u)), rel_tol=1e-14)


def test_the_largest_hash_gives_a_finite_number() -> None:
    u = ((2**52 - 1) + 0.5) / 2**52
    assert u < 1
    assert math.isfinite(-math.log(-math.log(u)))
