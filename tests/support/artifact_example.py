"""A small artifact, and how it is built."""

import os
from pathlib import Path
from typing import Any

from qurating.artifacts.artifact import Artifact
from qurating.artifacts.publishing import building

CONFIG = {"max_tokens": 512, "seed": 1}
IDENTITY = {"stage": "rate", "inputs": {"corpus": "corpora/x (0123)"}, "config": CONFIG}


def build(folder: Path) -> dict[str, Any]:
    (folder / "part").mkdir(exist_ok=True)
    (folder / "part" / "a.txt").write_text("one")
    return {"rows": 1, "labels": ["simulated judge"]}


def wanted(path: Path, identity: Any = IDENTITY, overwrite: bool = False) -> Artifact:
    stage, inputs, settings = identity["stage"], identity["inputs"], identity["config"]
    return Artifact(path, stage, inputs, settings, labels=frozenset({"inherited"}), overwrite=overwrite)


def publish(artifact: Artifact, build: Any, share: str | None = None, keep: Any = ()) -> Any:
    """The manifest if this call published, as a stage would be built."""
    with building(artifact, share, keep) as work:
        if work.to_do:
            work.counts = build(work.folder)
    return work.published


def made(path: Path, identity: Any = IDENTITY, overwrite: bool = False, build: Any = build) -> Any:
    return publish(wanted(path, identity, overwrite), build)


def flip_a_byte(file: Path) -> None:
    """Change one bit in the middle of a file, and neither its size nor its time of change."""
    before = file.stat()
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)
    os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
