"""Seeds: one for each purpose, all from the seed of the run."""

import contextlib
import functools
import hashlib
import importlib.metadata
import json
import math
import os
import platform
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from qurating import __version__
if TYPE_CHECKING:
    import pyarrow as pa



def seed_for(seed: int, *purpose: str) -> int:
    """A 63-bit seed for one purpose, from the run's seed: adding a use changes no other."""
    digest = hashlib.blake2b("\x00".join([str(seed), *purpose]).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1

