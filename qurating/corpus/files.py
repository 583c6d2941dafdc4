"""The files that paths and patterns name."""

import glob
import os
from collections.abc import Iterable
from pathlib import Path

from qurating.runtime.errors import StageError


def stem(path: Path) -> str:
    """The name of a file without its endings."""
    return path.name.split(".")[0] or path.name


def named_files(paths: str | Iterable[str]) -> list[tuple[Path, str]]:
    """The files that paths and patterns name, sorted, each with a short and unique name."""
    patterns = [paths] if isinstance(paths, str) else [str(path) for path in paths]
    found: set[Path] = set()
    for pattern in patterns:
        expanded = os.path.expanduser(pattern)
        if os.path.isdir(expanded):
            raise StageError(f"{pattern} is a folder; name its files, for example {pattern.rstrip('/')}/*.jsonl")
        matches = [expanded] if os.path.isfile(expanded) else glob.glob(expanded, recursive=True)
        files = [Path(match) for match in matches if os.path.isfile(match)]
        if not files:
            raise StageError(f"no file matches {pattern} (looked in {os.getcwd()})")
        found.update(files)
    ordered = sorted(found)
    if len({path.name for path in ordered}) == len(ordered):
        return [(path, path.name) for path in ordered]
    common = os.path.commonpath([path.absolute().parent for path in ordered])
    return [(path, path.absolute().relative_to(common).as_posix()) for path in ordered]
