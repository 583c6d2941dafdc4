"""The resolvers in the YAML files of this framework: `${base:…}`, `${count:…}` and so on."""

import functools
import glob
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

from qurating.artifacts.seeds import replicated

ROOT = Path(__file__).parents[2]  # of the repository; paths in conf/ are relative to it

_MAX_READ_BYTES = 64 * 2**20  # up to this total size, files are identified by content, beyond it by size


def register_resolvers() -> None:
    """Register the resolvers with OmegaConf."""
    resolvers: dict[str, Any] = {
        "any": lambda *conditions: any(conditions),
        "base": lambda path: str(path).rstrip("/").rsplit("/", 1)[-1],
        "count": _count,
        "cpus": lambda: len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "listing": _listing,
        "not": lambda condition: not condition,
        "replicated": replicated,
        "sha256": _sha256,
        "stem": _stem,
        "sweep_name": _sweep_name,
        "unless": lambda *given: None if any(given[:-1]) else given[-1],
        "when": lambda condition, yes, no: yes if condition else no,
    }
    for name, function in resolvers.items():
        OmegaConf.register_new_resolver(name, function, replace=True)


def _count(number: float | str) -> str:
    """A number of tokens as people write it: 30000000000 -> 30B, 400000 -> 400K, 123456 -> 123456."""
    if isinstance(number, str) or number != int(number):
        return str(number)
    number = int(number)
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        times_ten, rest = divmod(number * 10, size)
        if number >= size and not rest:
            return f"{times_ten // 10}{letter}" if times_ten % 10 == 0 else f"{times_ten / 10}{letter}"
    return str(number)


def _listing(paths: str | Sequence[str] | None) -> str | None:
    """The number and a hash of the files that match the patterns: other files make another corpus; null for null.

    The hash is over names and contents; over names and sizes if the files are too large together (`_MAX_READ_BYTES`).
    """
    if paths is None:
        return None
    patterns = [paths] if isinstance(paths, str) else [str(path) for path in paths]
    files = sorted({file for pattern in patterns for file in glob.glob(pattern, recursive=True)})
    stats = [os.stat(file) for file in files]
    is_small = sum(stat.st_size for stat in stats) <= _MAX_READ_BYTES
    listed = "\n".join(
        f"{Path(file).name} {_digest(file, stat.st_mtime_ns) if is_small and Path(file).is_file() else stat.st_size}"
        for file, stat in zip(files, stats, strict=True)
    )
    return f"{len(files)} files, {hashlib.sha256(listed.encode()).hexdigest()[:16]}"


@functools.lru_cache
def _digest(file: str, _: int) -> str:
    """Hash of a file's content, cached by its modification time: a config is resolved many times."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sha256(path: str | None) -> str | None:
    """The start of a file's SHA-256, null for null; `absent` if the file is missing, which its stage then reports."""
    if path is None:
        return None
    file = ROOT / path
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else "absent"


def _stem(paths: str | Sequence[str] | None) -> str:
    """The name of the first file without its endings: /data/wiki.jsonl.zst -> wiki; the stars of a glob are removed."""
    first = paths if isinstance(paths, str) else next(iter(paths or []), "empty")
    path = Path(str(first))
    name = path.name.split(".")[0].replace("*", "").strip("-_") or path.parent.name
    return name or "corpus"


def _sweep_name() -> str:
    if not HydraConfig.initialized():
        return "none"
    hydra = HydraConfig.get()
    return str(Path(hydra.sweep.dir if str(hydra.mode).endswith("MULTIRUN") else hydra.run.dir))
