"""Seeds: one for each purpose, all derived from the seed of the run."""

import functools
import hashlib

_MAX_REPLICATES = 1000  # that are recognised by their seed


def seed_for(seed: int, *purpose: str) -> int:
    """A 63-bit seed for one purpose, from the seed of the run: a new purpose changes no other seed."""
    digest = hashlib.blake2b("\x00".join([str(seed), *purpose]).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def replicated(seed: int, replicate: int) -> int:
    """The seed of a replicate: that of the run for replicate 0; no pair of another seed and replicate shares it."""
    return seed_for(seed, "replicate", str(replicate)) if replicate else seed


@functools.cache
def replicate_of(seed: int, used: int) -> int | None:
    """The replicate of a run with `seed` in which a stage used the seed `used`; None for a seed of its own."""
    return next((number for number in range(_MAX_REPLICATES) if replicated(seed, number) == used), None)
