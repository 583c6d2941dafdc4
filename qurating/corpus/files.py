"""The files that paths and patterns name."""

import glob
import os
from collections.abc import Iterable, Sequence
from pathlib import Path

from qurating.runtime.errors import StageError

ROOT = Path(__file__).parents[2]  # of the repository


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
    return with_names(sorted(found))


def with_names(paths: Sequence[Path]) -> list[tuple[Path, str]]:
    """Paths of files, each with its name; with the part of its folder that tells it apart, if two have the same."""
    if len({path.name for path in paths}) == len(paths):
        return [(path, path.name) for path in paths]
    common = os.path.commonpath([path.absolute().parent for path in paths])
    return [(path, path.absolute().relative_to(common).as_posix()) for path in paths]


def in_repository(path: str) -> Path:
    """The file of a setting that names one of the repository's by default, such as `judge.prompt`; `~` is the home.

    A relative path that the repository does not have is one of the working directory.
    """
    given = Path(path).expanduser()
    return ROOT / given if (ROOT / given).is_file() else given.absolute()
