"""Random numbers of sequences: functions of (seed, id) alone, so that shards, workers and the order of rows change
nothing."""

import hashlib

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Ids = npt.NDArray[np.uint64]


def gumbel(ids: Ids, seed: int) -> Floats:
    """Standard Gumbel noise, one number an id: −log(−log u) with u = hash(seed, id) in (0, 1)."""
    bits = mix64(ids)
    bits ^= mix64(np.array([seed], dtype=np.uint64))
    bits = mix64(bits)
    # 52 bits, at the middle of their interval: float64 has no room for a 53rd and a half, and would round up to 1
    bits >>= np.uint64(12)
    noise = bits.astype(np.float64)
    noise += 0.5
    noise *= 2.0**-52
    for _ in range(2):
        np.log(noise, out=noise)
        np.negative(noise, out=noise)
    return noise


def check_temperature(temperature: float) -> None:
    """Raises ValueError unless it is a number of at least 0, infinity among them."""
    is_number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    if not is_number or not temperature >= 0:
        raise ValueError(f"the temperature must be a number of 0 or more (0: top-k, inf: uniform), not {temperature}")


def as_ids(ids: npt.ArrayLike) -> Ids:
    """Ids as 64 bits: integers as they are (two's complement), strings by their BLAKE2b hash."""
    array = np.asarray(ids)
    if array.dtype == np.int64:
        return array.view(np.uint64)
    if np.issubdtype(array.dtype, np.integer):
        return array.astype(np.uint64)
    hashed = (hashlib.blake2b(str(item).encode(), digest_size=8).digest() for item in array)
    return np.frombuffer(b"".join(hashed), dtype=np.uint64)


def mix64(values: Ids) -> Ids:
    """The finaliser of splitmix64 (Steele et al. 2014): a bijection of 64-bit integers that passes for random."""
    mixed = values + np.uint64(0x9E3779B97F4A7C15)
    shifted = mixed >> np.uint64(30)
    mixed ^= shifted
    mixed *= np.uint64(0xBF58476D1CE4E5B9)
    mixed ^= np.right_shift(mixed, np.uint64(27), out=shifted)
    mixed *= np.uint64(0x94D049BB133111EB)
    mixed ^= np.right_shift(mixed, np.uint64(31), out=shifted)
    return mixed
