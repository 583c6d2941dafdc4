"""The work, time and disk of every artifact of a plan."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qurating.artifacts.lineage import CORPUS
from qurating.artifacts.manifest import referenced_name
from qurating.pipeline.planning import rates
from qurating.pipeline.planning.counts import Counts, UnknownError
from qurating.pipeline.planning.rates import Measured, Time
from qurating.pipeline.planning.states import RUNS, Planned
from qurating.pipeline.planning.work import Work, work


@dataclass
class Estimate:
    """What an artifact takes. `unknown` says what cannot be told, and why."""

    work: Work | None = None
    time: Time | None = None
    num_bytes: float | None = None
    unknown: tuple[str, ...] = ()


class Estimates:
    """Estimates for the artifacts of a plan, by what exists under `root` and by the table."""

    def __init__(self, planned: Mapping[str, Planned], root: Path) -> None:
        self._planned = planned
        self._known = rates.table()
        self._manifests = rates.read_manifests(root)
        self._works: dict[str, Work | UnknownError] = {}
        stages = {each.stage for each in planned.values() if each.state in RUNS}
        self._here = [found for name in self._manifests if (found := self._measured(name, stages)) is not None]

    @property
    def start_seconds(self) -> float:
        """CPU time of a process before its first stage works."""
        return float(self._known["process"]["start_seconds"])

    def of(self, name: str) -> Estimate:
        """The estimate for an artifact that would be made."""
        planned = self._planned[name]
        unknown = []
        try:
            todo = self._work(name)
        except UnknownError as error:
            return Estimate(unknown=(str(error),))
        took = size = None
        try:
            wanted = rates.precision(planned.settings)
            took = rates.time(planned.stage, todo, planned.on_gpu, wanted, self._here, self._known)
        except UnknownError as error:
            unknown.append(f"time: {error}")
        try:
            size = rates.num_bytes(planned.stage, todo, self._here, self._known)
        except UnknownError as error:
            unknown.append(f"disk: {error}")
        return Estimate(todo, took, size, tuple(unknown))

    def _work(self, name: str) -> Work:
        """The work of an artifact, planned or complete; raises UnknownError."""
        if name not in self._works:
            try:
                self._works[name] = self._find_work(name)
            except UnknownError as error:
                self._works[name] = error
            except (KeyError, TypeError, AttributeError, ZeroDivisionError) as error:  # settings that no formula knows
                self._works[name] = UnknownError(f"no formula fits its settings ({type(error).__name__}: {error})")
        found = self._works[name]
        if isinstance(found, UnknownError):
            raise found
        return found

    def _find_work(self, name: str) -> Work:
        planned, made = self._planned.get(name), self._manifests.get(name)
        if planned is not None and planned.state not in ("complete", "reuse"):
            stage, settings, inputs = planned.stage, planned.settings, planned.inputs
        elif made is not None:
            stage, settings = made["stage"], made["config"]
            inputs = {key: referenced_name(given) for key, given in made["inputs"].items()}
        else:
            raise UnknownError(f"{name} does not exist")
        return work(stage, settings, {key: self._counts(given) for key, given in inputs.items()}, self._known)

    def _counts(self, name: str) -> Counts:
        """What is known of an artifact: by its manifest if it is complete, otherwise by the work that makes it."""
        planned, made = self._planned.get(name), self._manifests.get(name)
        numbers, unknown = dict[str, float](), ""
        try:
            numbers |= (counts := self._work(name).counts)
            unknown = counts.unknown
        except UnknownError as error:
            unknown = str(error)
        if made is not None and (planned is None or planned.state in ("complete", "reuse")):
            numbers |= {key: value for key, value in made["counts"].items() if isinstance(value, int | float)}
        return Counts(numbers, unknown)

    def _measured(self, name: str, stages: set[str]) -> Measured | None:
        made = self._manifests[name]
        if made["stage"] not in stages:
            return None
        try:
            settings: Mapping[str, Any] = made["config"]
            inputs = {key: self._counts(referenced_name(given)) for key, given in made["inputs"].items()}
            done = work(made["stage"], settings, inputs, self._known)
            if made["stage"] == CORPUS:  # counted, not estimated
                tokens = made["counts"]["tokens"] + made["counts"]["heldout_tokens"]
                done = dataclasses.replace(done, amount=tokens, size=tokens)
            return rates.measured(made, done, "trainer" in settings or "accelerator" in settings)
        except (UnknownError, KeyError, TypeError, AttributeError, ZeroDivisionError):
            return None  # its inputs are gone, or an earlier version made it
