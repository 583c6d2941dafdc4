"""Seeds: one for each purpose, all from the seed of the run."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass


def seed_for(seed: int, *purpose: str) -> int:
    """A 63-bit seed for one purpose, from the run's seed: adding a use changes no other."""
    digest = hashlib.blake2b("\x00".join([str(seed), *purpose]).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1
