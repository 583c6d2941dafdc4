"""An artifact's manifest: how it came about, what is in it, and whether that is still there.

An artifact is a folder `<root>/<kind>/<name>` with a `manifest.json`, which is written last.
"""

import contextlib
import datetime
import functools
import hashlib
import importlib.metadata
import json
import platform
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from qurating import __version__
from qurating.artifacts.files import read_json, sha256
from qurating.artifacts.identity import FORMAT, plain
from qurating.runtime.errors import StageError

PACKAGES = (
    "datasets",
    "hydra-core",
    "numpy",
    "openai",
    "pyarrow",
    "pytorch-lightning",
    "tokenizers",
    "torch",
    "transformers",
)


def manifest(path: Path) -> dict[str, Any]:
    """The manifest of a complete artifact; raises StageError if it is absent or a file of it is gone or cut short."""
    file = path / "manifest.json"
    if not file.is_file():
        raise StageError(
            f"{path} is not there yet: add the stage that makes it to `stage=[...]`, or name another artifact"
        )
    found: dict[str, Any] = read_json(file)
    way_out = f"make it anew: its stage, {found['stage']}, in `stage=[...]`, with overwrite=true"
    for name, written in found["files"].items():
        try:
            num_bytes = (path / name).stat().st_size
        except FileNotFoundError:
            raise StageError(f"{path} is damaged: {name} is missing; {way_out}") from None
        if num_bytes != written["bytes"]:
            raise StageError(
                f"{path} is damaged: {name} has {num_bytes} bytes, {written['bytes']} were written; {way_out}"
            )
    return found


def described(
    folder: Path,
    name: str,
    identity: Mapping[str, Any],
    settings: Mapping[str, Any],
    labels: set[str],
    counts: Mapping[str, Any],
    seconds: float,
) -> dict[str, Any]:
    """The manifest of what lies in a folder.

    Args:
        name: `<kind>/<name>`.
        settings: everything that the stage was given.
        labels: warnings that later artifacts inherit; `counts` may bring more, under "labels".
    """
    names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    files = {name: {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)} for name in names}
    content = json.dumps([identity, {name: file["sha256"] for name, file in files.items()}], sort_keys=True)
    return {
        "format": FORMAT,
        "stage": identity["stage"],
        "name": name,
        "identity": identity,
        "config": plain(settings),
        "inputs": identity["inputs"],
        "labels": sorted({*labels, *counts.get("labels", [])}),
        "seed": settings.get("seed"),
        "counts": {key: value for key, value in counts.items() if key != "labels"},
        "seconds": seconds,
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "code_version": code_version(),
        "packages": versions(),
        "files": files,
        "fingerprint": hashlib.sha256(content.encode()).hexdigest(),
    }


@functools.cache
def code_version() -> str:
    """The commit of the code that runs (with `-dirty` if it was changed since), or the package's version."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return __version__


def versions() -> dict[str, str]:
    """Of Python and the packages that can change a result."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
