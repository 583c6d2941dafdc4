"""Random numbers of sequences: functions of (seed, id) alone, whatever the shards, workers and order of rows."""

import numpy as np
import numpy.typing as npt

from qurating.corpus.hashing import Ids, mix64

Floats = npt.NDArray[np.float64]


def gumbel(ids: Ids, seed: int) -> Floats:
    """Standard Gumbel noise, one number per id: −log(−log u) with u = hash(seed, id) in (0, 1)."""
    bits = mix64(ids)
    bits ^= mix64(np.array([seed], dtype=np.uint64))
    bits = mix64(bits)
    # 52 bits, at the middle of their interval: with 53 bits and a half, float64 would round up to 1
    bits >>= np.uint64(12)
    noise = bits.astype(np.float64)
    noise += 0.5
    noise *= 2.0**-52
    for _ in range(2):
        np.log(noise, out=noise)
        np.negative(noise, out=noise)
    return noise


def check_temperature(temperature: float) -> None:
    """Raises ValueError unless the temperature is a number of at least 0; infinity is allowed."""
    is_number = isinstance(temperature, int | float) and not isinstance(temperature, bool)
    if not is_number or not temperature >= 0:
        raise ValueError(f"the temperature must be a number of 0 or more (0: top-k, inf: uniform), not {temperature}")
