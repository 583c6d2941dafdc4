"""The artifact that a run asks for: its folder, and what it has to be made from."""

import functools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qurating.artifacts.identity import (
    UNKNOWN,
    changes,
    identifying_settings,
    is_current,
    recorded_identity,
    uncompared,
)
from qurating.artifacts.integrity import check_content
from qurating.artifacts.manifest import manifest
from qurating.runtime.errors import StageError


@dataclass(frozen=True)
class Artifact:
    """What a stage has to make, or has made already.

    Args:
        path: `<root>/<kind>/<name>`.
        stage: the stage that makes it.
        inputs: a reference to each input (`manifest.reference`), by the stage's name for the input.
        settings: all other arguments of the stage, for the manifest.
        runtime: paths of settings that are not compared, see `identity.identifying_settings`.
        sources: fingerprints of the models and data sets that settings name, by setting.
        labels: warnings inherited from the inputs.
        overwrite: replace an artifact that is damaged, or was made with other settings or inputs, instead of
            raising an error.
        redo: make it again although it is complete.
        max_compared_bytes: with `overwrite`, an artifact up to this size is compared with its hashes.
    """

    path: Path
    stage: str
    inputs: Mapping[str, str]
    settings: Mapping[str, Any]
    runtime: Sequence[str] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    labels: frozenset[str] = frozenset()
    overwrite: bool = False
    redo: bool = False
    max_compared_bytes: float = math.inf

    @functools.cached_property
    def identity(self) -> dict[str, Any]:
        """What two artifacts are compared by, in types that JSON can hold."""
        config = identifying_settings(self.settings, self.runtime)
        found = {"stage": self.stage, "inputs": dict(self.inputs), "config": config}
        # why a source cannot be told is no part of it: texts of errors differ from one time to the next
        sources = {key: UNKNOWN if each.startswith(UNKNOWN) else each for key, each in self.sources.items()}
        return found | {"sources": sources} if sources else found

    def is_complete(self) -> bool:
        """Whether it exists, was made with exactly these settings and inputs, and is not to be made again.

        Raises:
            StageError: it is damaged, or was made with other settings or inputs; says which, and what to do. With
                `overwrite` the result is False instead.
        """
        if not (self.path / "manifest.json").is_file():
            return False
        try:
            made = manifest(self.path)
            if self.overwrite:
                check_content(self.path, made, self.max_compared_bytes)
        except StageError:
            if self.overwrite:
                return False
            raise
        changed = changes(recorded_identity(made, self.runtime), self.identity | {"sources": self.sources})
        if changed and not self.overwrite:
            raise self.mismatch(f"{self.path} was made", changed, is_earlier=not is_current(made))
        return not changed and not self.redo

    def uncompared(self) -> dict[str, str]:
        """The sources that count as unchanged, because they cannot be compared, by setting, each with the reason."""
        return uncompared(recorded_identity(manifest(self.path), self.runtime), {"sources": self.sources})

    def mismatch(self, subject: str, changed: Sequence[str], is_earlier: bool = False) -> StageError:
        """The error for an artifact, or a working folder, that was made with other settings or inputs.

        Args:
            subject: the beginning of the message, such as `<path> was made`.
            changed: one line per difference.
            is_earlier: an earlier version, which identified artifacts in another way, made it.
        """
        shown = "\n".join(f"    {line}" for line in changed[:20])
        more = f"\n    ... and {len(changed) - 20} more" if len(changed) > 20 else ""
        version = (
            "\n  It was made by an earlier version of qurating: all settings in its manifest are compared, except "
            "those that no result depends on"
        )
        is_of_sources = all(line.startswith("sources.") for line in changed) and (self.path / "manifest.json").is_file()
        go_on = f"\n  or go on with it as it is: leave {self.stage} out of `stage=[...]`" if is_of_sources else ""
        return StageError(
            f"{subject} with other settings or inputs:\n{shown}{more}{version if is_earlier else ''}\n"
            f"  Either keep both, with another name for the new one: artifacts.{self.stage}=<kind>/<name>\n"
            "  or replace it: overwrite=true" + go_on
        )
