"""Complete artifacts with everything that they are made of, told apart by method and by seed.

Two artifacts are of one method if they, and everything that they are made of, were made by the same stages with the
same settings and sources, seeds aside. Names do not count.
"""

import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qurating.artifacts import lineage
from qurating.artifacts.files import read_json
from qurating.artifacts.identity import identifying_settings, leaves
from qurating.artifacts.manifest import read_manifest, reference, referenced_name
from qurating.runtime.errors import StageError

SEEDS = ("seed", "replicate")  # settings of a stage: they draw again, and change no method


@dataclass(frozen=True)
class Made:
    """A complete artifact, and its inputs by the stage's name for them.

    `settings`: those that identify it, flattened, and its sources (`sources.<setting>`), without seeds.
    `method`: a digest, the same for artifacts of one method; `run`: the same if the seeds are the same, too.
    """

    folder: Path
    manifest: Mapping[str, Any]
    inputs: Mapping[str, "Made"]
    settings: Mapping[str, Any]
    method: str
    run: str

    @property
    def stage(self) -> str:
        return str(self.manifest["stage"])

    @property
    def seed(self) -> Any:
        """The seed that its stage was given; None if it has none."""
        return self.manifest["identity"]["config"].get("seed")

    @property
    def reference(self) -> str:
        """`<kind>/<name> (<16 digits of the fingerprint>)`, by the name of its folder."""
        return reference(f"{self.folder.parent.name}/{self.folder.name}", self.manifest)

    def by_stage(self) -> dict[str, "Made"]:
        """It and everything that it is made of. Of several artifacts of a stage, the one that the model learnt from."""
        found = {self.stage: self}
        for key in sorted(self.inputs, key=lambda key: key not in ("language_model", "order", "subset")):
            found = self.inputs[key].by_stage() | found
        return found


class Ancestry:
    """The artifacts `<root>/<kind>/<name>`, each read once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.artifact = functools.cache(self._read)

    def _read(self, name: str) -> Made:
        """The artifact of a name, `<kind>/<name>`.

        Raises:
            StageError: it, or something that it is made of, is not here, has a damaged manifest, or was replaced since.
        """
        file = self.root / name / "manifest.json"
        if not file.is_file():
            raise StageError(f"{name} is not here")
        found = read_manifest(file)
        inputs = {str(key): self.referenced(str(given)) for key, given in found["inputs"].items()}
        identity = found["identity"]
        flat = leaves(identifying_settings(identity["config"], ()))  # earlier versions recorded modules, too
        # no key: no setting at all; an argument that is null counts as absent, as in `identity.changes`
        given = {key: value for key, value in flat.items() if key and (value is not None or "." in key)}
        given |= leaves({"sources": identity["sources"]}) if identity.get("sources") else {}
        settings = {key: value for key, value in given.items() if key not in SEEDS}
        return Made(
            folder=file.parent,
            manifest=found,
            inputs=inputs,
            settings=settings,
            method=_digest(found["stage"], settings, {key: made.method for key, made in inputs.items()}),
            run=_digest(found["stage"], given, {key: made.run for key, made in inputs.items()}),
        )

    def referenced(self, given: str) -> Made:
        """The artifact that a manifest refers to; raises StageError as `artifact` does."""
        name = referenced_name(given)
        made = self.artifact(name)
        if reference(name, made.manifest) != given:
            raise StageError(f"{given} was replaced since")
        return made

    def made_of(self, name: str, stage: str) -> tuple[list[str], dict[str, str]]:
        """The artifacts of a stage that are made of the artifact `name`, and those of which that is no longer true.

        Returns:
            names, sorted; and those that say they are made of `name`, but that are damaged, or of which something is
            damaged, not here or was replaced since, with the reason.
        """
        kind = next(each.kind for each in lineage.TABLE if each.name == stage)
        found, left_out = [], {}
        for file in sorted(self.root.glob(f"{kind}/*/manifest.json")):
            given, raw = f"{kind}/{file.parent.name}", None
            if file.parent.name.startswith("."):
                continue  # unfinished
            try:
                raw = read_json(file)
                if raw.get("stage") != stage:
                    continue
                if any(each.folder == self.root / name for each in self.artifact(given).by_stage().values()):
                    found.append(given)
            except StageError as error:
                if raw is None or name in map(referenced_name, map(str, raw.get("inputs", {}).values())):
                    left_out[given] = str(error)
        return found, left_out


def _digest(*content: Any) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
