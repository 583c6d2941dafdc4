"""The functions of this framework's YAML files: `${base:…}`, `${count:…}` and so on."""

import functools
import glob
import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import OmegaConf

ROOT = Path(__file__).parents[2]  # of the repository; relative paths to files of conf/ start here

_MAX_READ_BYTES = 64 * 2**20  # of files that a configuration names, to tell others from them


def register_resolvers() -> None:
    """Make the functions of this framework's YAML files known: `${base:…}`, `${count:…}` and so on."""
    resolvers: dict[str, Any] = {
        "any": lambda *conditions: any(conditions),
        "base": lambda path: str(path).rstrip("/").rsplit("/", 1)[-1],
        "count": _count,
        "cpus": lambda: len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "listing": _listing,
        "not": lambda condition: not condition,
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
        tenths, rest = divmod(number * 10, size)
        if number >= size and not rest:
            return f"{tenths // 10}{letter}" if tenths % 10 == 0 else f"{tenths / 10}{letter}"
    return str(number)


def _listing(paths: str | Sequence[str] | None) -> str | None:
    """A hash of the files that patterns name, null of null: other files are another corpus.

    Of their names and contents; where they are large together, of their names and sizes.
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
    """Of a file's content, as of a time: a configuration is resolved many times."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sha256(path: str | None) -> str | None:
    """The start of a file's SHA-256, null of null; the stage that reads the file says so if it is absent."""
    if path is None:
        return None
    file = ROOT / path
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else "absent"


def _stem(paths: str | Sequence[str] | None) -> str:
    """The name of the first file without its endings: /data/wiki.jsonl.zst -> wiki; a glob's star goes too."""
    first = paths if isinstance(paths, str) else next(iter(paths or []), "empty")
    path = Path(str(first))
    name = path.name.split(".")[0].replace("*", "").strip("-_") or path.parent.name
    return name or "corpus"


def _sweep_name() -> str:
    if not HydraConfig.initialized():
        return "none"
    hydra = HydraConfig.get()
    return str(Path(hydra.sweep.dir if str(hydra.mode).endswith("MULTIRUN") else hydra.run.dir))
