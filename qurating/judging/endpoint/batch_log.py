"""The log of submitted batches, a file of JSON lines: the digest of a batch before its creation, its id afterwards.

A kill between the two leaves a batch that is paid for and has no id here: `unidentified`.
"""

import contextlib
import hashlib
import json
from pathlib import Path
from typing import Any


class BatchLog:
    """Batches by digest: {"digest", "num_requests", "id" after creation, "done" after its answers were fetched}."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._known: dict[str, dict[str, Any]] = {}
        with contextlib.suppress(FileNotFoundError):
            for line in path.read_bytes().splitlines():
                with contextlib.suppress(ValueError):  # incomplete: a kill interrupted the write
                    entry = json.loads(line)
                    self._known.setdefault(entry["digest"], {}).update(entry)

    def note(self, digest: str, **found: Any) -> None:
        """Append new facts about a batch to the file."""
        entry = {"digest": digest, **found}
        self._known.setdefault(digest, {}).update(entry)
        with open(self._path, "ab", buffering=0) as log:
            incomplete = log.tell() and not self._path.read_bytes().endswith(b"\n")
            log.write((b"\n" if incomplete else b"") + json.dumps(entry).encode() + b"\n")

    def digest(self, keys: str, number: int) -> str:
        """The digest of a batch of these requests (`keys`) in round `number`; a new one if that batch is done."""
        digest = hashlib.blake2b(f"{number} {keys}".encode(), digest_size=16).hexdigest()
        if self._known.get(digest, {}).get("done"):  # the same requests again, in another run
            digest = hashlib.blake2b(f"{digest} {len(self._known)}".encode(), digest_size=16).hexdigest()
        return digest

    def unidentified(self) -> set[str]:
        """Digests of batches that may exist at the endpoint and have no id here."""
        return {digest for digest, entry in self._known.items() if "id" not in entry and not entry.get("done")}

    def under_way(self) -> list[tuple[str, str]]:
        """Digest and id of each batch whose answers have not been fetched yet."""
        known = self._known.items()
        return [(digest, entry["id"]) for digest, entry in known if "id" in entry and not entry.get("done")]
