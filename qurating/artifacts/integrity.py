"""Whether the files of an artifact still have the content that its manifest records.

Comparing reads every file, so the outcome is remembered: `.<name>.checked.json`, next to the artifact, has size, times
and inode of each compared file. A file is read again only if one of them has changed. A failing disk changes none of
them: `python -m qurating.verify` reads every file.
"""

import contextlib
import os
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from tqdm import tqdm

from qurating.artifacts.files import read_json, sha256, write_json
from qurating.runtime.errors import StageError

_NUM_THREADS = min(8, os.cpu_count() or 1)  # hashing and reading release Python's lock


def check_content(path: Path, made: Mapping[str, Any], max_bytes: float) -> None:
    """Compare the files of an artifact with the SHA-256 in its manifest `made`, unless that is remembered.

    An artifact larger than `max_bytes` is not compared, and a line says so.

    Raises:
        StageError: names the files whose content is another, and the way out.
    """
    size = sum(written["bytes"] for written in made["files"].values())
    if size > max_bytes:
        print(
            f"    not compared with its hashes: {path} ({size / 1e9:,.1f} GB, verify_gigabytes={max_bytes / 1e9:g}); "
            f"`python -m qurating.verify {path}` does it",
            flush=True,
        )
        return
    with tqdm(total=size, desc=f"comparing {path.name}", unit="B", unit_scale=True, delay=2.0, leave=False) as progress:
        damaged = damaged_files(path, made, read=progress.update)
    if damaged:
        raise damage(path, made, damaged)


def damaged_files(
    path: Path, made: Mapping[str, Any], *, forget: bool = False, read: Callable[[int], object] = lambda num_bytes: None
) -> list[str]:
    """The files of an artifact that are missing, or whose content is not the one in its manifest.

    Args:
        made: its manifest.
        forget: read every file, also those that were compared before.
        read: called with the size of each compared file in bytes, in one thread after another.
    """
    before = _remembered(path, made)
    known = {} if forget else before

    def compared(name: str) -> list[Any] | None:
        """Stamp of a file, and whether it is intact; None if it is missing."""
        try:
            stamp = _stamp(path / name)
            if name in known and known[name][:-1] == stamp:
                return known[name]
            return [*stamp, sha256(path / name) == made["files"][name]["sha256"]]
        except FileNotFoundError:
            return None

    found: dict[str, list[Any]] = {}
    with ThreadPoolExecutor(_NUM_THREADS) as pool:
        for name, entry in zip(made["files"], pool.map(compared, made["files"]), strict=True):
            if entry is not None:
                found[name] = entry
                read(entry[0])
    if found != before:
        _remember(path, made, found)
    return [name for name in made["files"] if name not in found or not found[name][-1]]


def known_damage(path: Path, made: Mapping[str, Any]) -> list[str]:
    """The files that an earlier comparison found damaged, and that have not changed since."""
    known = _remembered(path, made)
    return [name for name, (*stamp, intact) in known.items() if not intact and stamp == _stamp(path / name)]


def remember_intact(path: Path, folder: Path, made: Mapping[str, Any]) -> None:
    """Remember that the files in `folder`, which is about to be renamed to `path`, have just been hashed."""
    _remember(path, made, {name: [*_stamp(folder / name), True] for name in made["files"]})


def damage(path: Path, made: Mapping[str, Any], names: list[str]) -> StageError:
    """The error for an artifact with files of another content."""
    shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
    return StageError(f"{path} is damaged: the content of {shown} is not what was written (SHA-256); {remedy(made)}")


def remedy(made: Mapping[str, Any]) -> str:
    """What to do about a damaged artifact."""
    return f"make it again with overwrite=true and its stage, {made['stage']}, in `stage=[...]`"


def _memory(path: Path) -> Path:
    return path.with_name(f".{path.name}.checked.json")


def _remembered(path: Path, made: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Stamp and state of each compared file; nothing if they belong to another version of the artifact."""
    with contextlib.suppress(OSError, StageError, KeyError, TypeError):
        found = read_json(_memory(path))
        if found["fingerprint"] == made["fingerprint"]:
            return dict(found["files"])
    return {}


def _remember(path: Path, made: Mapping[str, Any], files: Mapping[str, list[Any]]) -> None:
    with contextlib.suppress(OSError):  # without write access, each run compares
        write_json(_memory(path), {"fingerprint": made["fingerprint"], "files": files})


def _stamp(file: Path) -> list[int]:
    """Size in bytes, times of change in ns, and inode of a file."""
    found = file.stat()
    return [found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino]
