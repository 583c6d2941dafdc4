"""Artifacts on disk: whole or absent, built once, skipped when complete, refused when they differ.

An artifact is a folder `<root>/<kind>/<name>` with a `manifest.json`. While a stage builds it, its files lie in
`<root>/<kind>/.<name>.partial`; publication is one rename. What identifies an artifact is its stage, the settings
that can change its content, and the fingerprints of its inputs; anything else (workers, devices, time-outs) is
recorded but never compared.
"""

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
from qurating.runtime.errors import StageError
from qurating.artifacts.identity import differences
from qurating.artifacts.files import read_json

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
    for name, recorded in found["files"].items():
        try:
            num_bytes = (path / name).stat().st_size
        except FileNotFoundError:
            raise StageError(f"{path} is damaged: {name} is missing; {way_out}") from None
        if num_bytes != recorded["bytes"]:
            raise StageError(
                f"{path} is damaged: {name} has {num_bytes} bytes, {recorded['bytes']} were written; {way_out}"
            )
    return found


@functools.cache
def code_version() -> str:
    """The commit of the code that runs (with `-dirty` if it was changed since), or the package's version."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return __version__


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found


def up_to_date(path: Path, identity: Mapping[str, Any], overwrite: bool) -> bool:
    """Whether `path` is complete and was made of exactly this.

    Raises StageError, with the settings that differ and the two ways out, if it was made of something else, or is
    damaged (unless `overwrite`, which then answers False).
    """
    if not (path / "manifest.json").is_file():
        return False
    try:
        made = manifest(path)
    except StageError:
        if overwrite:
            return False
        raise
    changed = differences(made["identity"], identity)
    if changed and not overwrite:
        raise StageError(refusal(str(path), "was made otherwise", changed, str(identity["stage"])))
    return not changed


def refusal(what: str, how: str, changed: list[str], stage: str) -> str:
    shown = "\n".join(f"    {line}" for line in changed[:20])
    more = f"\n    ... and {len(changed) - 20} more" if len(changed) > 20 else ""
    return (
        f"{what} {how}:\n{shown}{more}\n"
        f"  Either keep both, by another name for the new one: artifacts.{stage}=<kind>/<name>\n"
        "  or replace it: overwrite=true"
    )
