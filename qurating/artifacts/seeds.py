"""Seeds: one for each purpose, all derived from the seed of the run."""

import hashlib


def seed_for(seed: int, *purpose: str) -> int:
    """A 63-bit seed for one purpose, from the seed of the run: a new purpose changes no other seed."""
    digest = hashlib.blake2b("\x00".join([str(seed), *purpose]).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
