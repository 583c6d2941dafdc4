"""An artifact's manifest: how the artifact was made, its files, and whether they are intact.

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
from qurating.artifacts.integrity import damage, known_damage, remedy
from qurating.runtime.errors import StageError

PACKAGES = (
    "datasets",
    "hydra-core",
    "numpy",
    "openai",
    "pyarrow",
    "pytorch-lightning",
    "regex",
    "tokenizers",
    "torch",
    "transformers",
)


def manifest(path: Path) -> dict[str, Any]:
    """Read the manifest of a complete artifact.

    Raises:
        StageError: the artifact does not exist; the manifest is damaged; or a file is missing, has another size, or
            was found damaged before (`artifacts.integrity`).
    """
    file = path / "manifest.json"
    if not file.is_file():
        raise StageError(
            f"{path} does not exist yet: add the stage that makes it to `stage=[...]`, or name another artifact"
        )
    found = read_manifest(file)
    for name, written in found["files"].items():
        try:
            num_bytes = (path / name).stat().st_size
        except FileNotFoundError:
            raise StageError(f"{path} is damaged: {name} is missing; {remedy(found)}") from None
        if num_bytes != written["bytes"]:
            raise StageError(
                f"{path} is damaged: {name} has {num_bytes} bytes instead of {written['bytes']}; {remedy(found)}"
            )
    if damaged := known_damage(path, found):
        raise damage(path, found, damaged)
    return found


def read_manifest(file: Path) -> dict[str, Any]:
    """The content of a `manifest.json`; raises StageError if that is damaged."""
    try:
        found: dict[str, Any] = read_json(file)
        again = sealed({key: value for key, value in found.items() if key not in ("fingerprint", "checksum")})
    except StageError as error:
        raise StageError(f"{error}; {_way_out(file)}") from None
    except (KeyError, TypeError, AttributeError):
        raise StageError(f"{file} is damaged: it lacks the identity or the files; {_way_out(file)}") from None
    if found.get("checksum", again["checksum"]) != again["checksum"]:  # earlier versions wrote none
        raise StageError(f"{file} is damaged: its checksum is not that of its content; {_way_out(file)}")
    if found.get("fingerprint") != again["fingerprint"]:
        way_out = f'set it to "{again["fingerprint"]}"' if "checksum" in found else _way_out(file)
        raise StageError(f"{file} is damaged: its fingerprint is not that of its content; {way_out}")
    return found


def sealed(content: Mapping[str, Any]) -> dict[str, Any]:
    """A manifest with its fingerprint and its checksum.

    The fingerprint is the SHA-256 over the identity and the hashes of the files, the same for every run that makes the
    same: files under "records" tell how the run went, and do not count. The checksum is the SHA-256 over everything
    else in the manifest.
    """
    records = content.get("records", ())
    hashes = {name: file["sha256"] for name, file in content["files"].items() if name not in records}
    fingerprint = _sha256_of([content["identity"], hashes])
    return {**content, "fingerprint": fingerprint, "checksum": _sha256_of([content, fingerprint])}


def _sha256_of(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


def _way_out(file: Path) -> str:
    return (
        f"put back a copy of it, or make {file.parent} again with overwrite=true (`python -m qurating.verify "
        f"{file.parent}` says whether its other files are intact)"
    )


def reference(name: str, made: Mapping[str, Any]) -> str:
    """An input as identities record it, `<kind>/<name> (<start of its fingerprint>)`; `made` is its manifest."""
    return f"{name} ({made['fingerprint'][:16]})"


def referenced_name(reference: str) -> str:
    """The `<kind>/<name>` in a reference to an input."""
    return reference.rsplit(" (", 1)[0]


def build_manifest(
    folder: Path,
    name: str,
    identity: Mapping[str, Any],
    settings: Mapping[str, Any],
    labels: set[str],
    counts: Mapping[str, Any],
    seconds: float,
    machine: Mapping[str, Any],
) -> dict[str, Any]:
    """The manifest of a finished folder.

    Args:
        name: `<kind>/<name>`.
        settings: all arguments of the stage except its inputs.
        labels: warnings that later artifacts inherit; `counts` may add more, under "labels".
        counts: under "records" it may name files that tell how the run went and not what it made, such as its costs.
            No later stage reads them, and they do not count in the fingerprint.
        seconds: wall time of the attempt that finished.
        machine: on which it ran, with `cpu_seconds` and the number of `attempts`.
    """
    names = sorted(file.relative_to(folder).as_posix() for file in folder.rglob("*") if file.is_file())
    files = {name: {"bytes": (folder / name).stat().st_size, "sha256": sha256(folder / name)} for name in names}
    content = {
        "format": FORMAT,
        "stage": identity["stage"],
        "name": name,
        "identity": identity,
        "config": plain(settings),
        "inputs": identity["inputs"],
        "labels": sorted({*labels, *counts.get("labels", [])}),
        "seed": settings.get("seed"),
        "counts": {key: value for key, value in counts.items() if key not in ("labels", "records")},
        "seconds": seconds,
        "machine": machine,
        "finished": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "code_version": code_version(),
        "packages": versions(),
        "files": files,
    }
    if records := counts.get("records"):
        content["records"] = sorted(records)
    return sealed(json.loads(json.dumps(content)))  # as it will be read: keys are text, tuples are lists


@functools.cache
def code_version() -> str:
    """The commit of the running code (with `-dirty` if it was changed since), or the version of the package."""
    git = ["git", "-C", str(Path(__file__).parent), "describe", "--always", "--dirty", "--abbrev=12"]
    try:
        return subprocess.run(git, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):
        return __version__


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that can change a result."""
    found = {"python": platform.python_version()}
    for package in PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            found[package] = importlib.metadata.version(package)
    return found
