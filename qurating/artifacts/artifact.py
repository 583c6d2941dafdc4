"""An artifact as a run wants it: where it lies, and what it is to be made of."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qurating.artifacts.identity import differences, is_current, meaning, recorded
from qurating.artifacts.manifest import manifest
from qurating.runtime.errors import StageError


@dataclass(frozen=True)
class Artifact:
    """What a stage is to make, or has made already.

    Args:
        path: `<root>/<kind>/<name>`.
        stage: that makes it.
        inputs: by the stage's name for it, `<kind>/<name> (<start of its fingerprint>)`.
        settings: everything else that the stage is given, for the record.
        runtime: paths of settings that do not count, see `identity.meaning`.
        labels: warnings that it inherits from its inputs.
        overwrite: replace what was made otherwise, or is damaged, instead of refusing.
    """

    path: Path
    stage: str
    inputs: Mapping[str, str]
    settings: Mapping[str, Any]
    runtime: Sequence[str] = ()
    labels: frozenset[str] = frozenset()
    overwrite: bool = False

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """What is compared, in JSON's types."""
        config = meaning(self.settings, self.runtime)
        return {"stage": self.stage, "inputs": dict(self.inputs), "config": config}

    def is_complete(self) -> bool:
        """Whether it is there, and was made of exactly this.

        Raises StageError, with the settings that differ and the two ways out, if it was made of something else, or is
        damaged (with `overwrite` it answers False instead).
        """
        if not (self.path / "manifest.json").is_file():
            return False
        try:
            made = manifest(self.path)
        except StageError:
            if self.overwrite:
                return False
            raise
        changed = differences(recorded(made, self.runtime), self.identity)
        if changed and not self.overwrite:
            raise self.refused(str(self.path), "was made otherwise", changed, earlier=not is_current(made))
        return not changed

    def refused(self, what: str, how: str, changed: Sequence[str], earlier: bool = False) -> StageError:
        """The error for an artifact, or a working folder, that was made otherwise.

        `earlier`: by a version that identified artifacts in another way.
        """
        shown = "\n".join(f"    {line}" for line in changed[:20])
        more = f"\n    ... and {len(changed) - 20} more" if len(changed) > 20 else ""
        version = (
            "\n  It was made by an earlier version of qurating, whose manifests are compared by everything that the "
            "stage was given"
        )
        return StageError(
            f"{what} {how}:\n{shown}{more}{version if earlier else ''}\n"
            f"  Either keep both, by another name for the new one: artifacts.{self.stage}=<kind>/<name>\n"
            "  or replace it: overwrite=true"
        )
