"""Trackers beside the files of the artifacts: one run per cell, which gets what each artifact has to show.

A tracker has a client (`wandb_run`, `tensorboard_run`). Stages know none: trainings log through Lightning, and
`reports.tracked` turns a finished artifact into what is shown. A record beside the run's files says what the run has
already, so that a resumed cell continues its curves and a repeated command adds nothing twice.
"""

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, Protocol

from qurating.artifacts.files import read_json, write_json
from qurating.artifacts.identity import plain
from qurating.runtime.errors import StageError


class Histogram(NamedTuple):
    """`counts` (n,) between `edges` (n + 1,), ascending."""

    counts: Sequence[int]
    edges: Sequence[float]


class Table(NamedTuple):
    """Rows of texts and numbers."""

    columns: Sequence[str]
    rows: Sequence[Sequence[Any]]


Value = float | Histogram | Table | Path  # a path is that of an image


class Point(NamedTuple):
    """Metrics `values` at the place `at` of the axis `x`, such as tokens."""

    x: str
    at: float
    values: Mapping[str, float]


class Source(NamedTuple):
    """An artifact in the lineage: `<kind>/<name>`, its stage, its fingerprint, its folder and its counts."""

    name: str
    stage: str
    fingerprint: str
    folder: Path
    counts: Mapping[str, Any]


@dataclass(frozen=True)
class Shown:
    """What a tracker shows of an artifact.

    `inputs`: of the artifact. `summary`: final figures. `points`: curves, in order. `media`: histograms, tables and
    images by name. Names start with the stage.
    """

    source: Source
    inputs: Sequence[Source] = ()
    summary: Mapping[str, float | str] = field(default_factory=dict)
    points: Sequence[Point] = ()
    media: Mapping[str, Value] = field(default_factory=dict)


class Client(Protocol):
    """One run of a tracker; `row` counts what a run has logged, over all of its attempts."""

    label: str

    def log(self, values: Mapping[str, Value], x: tuple[str, float] | None, row: int) -> None: ...

    def summarise(self, values: Mapping[str, float | str]) -> None: ...

    def link(self, source: Source, is_input: bool) -> None: ...

    def kept(self, axes: Mapping[str, str]) -> Mapping[str, float] | None:
        """What earlier attempts left: name -> last place on its axis (0 without one); None if nothing gets lost."""


class Tracker:
    """An open run, and the record of what it has.

    Args:
        client: of the run.
        record: a JSON file, read now and written after each change.
        place: where the run is (`project` and the like); the record of another place does not count.
        about: the name of the run and its sweep, for `reports.dashboard`.
    """

    def __init__(self, client: Client, record: Path, place: Mapping[str, Any], about: Mapping[str, str]) -> None:
        self.client = client
        self.stage = ""
        self._file = record
        found: dict[str, Any] = {}
        with contextlib.suppress(StageError):  # damaged: by a full disk, for example
            found = read_json(record) if record.is_file() else {}
        empty: dict[str, Any] = {"row": 0, "summary": []}
        empty |= {key: {} for key in ("begun", "shown", "linked", "points", "media")}
        self._has = found if found.get("place") == dict(place) else {"place": dict(place), **empty}
        self._has["about"] = dict(about)
        self._has_complained = False
        self._linked_now: set[str] = set()
        self._was_killed = bool(self._has.get("is_open"))
        if self._was_killed:
            self._forget_what_was_lost()
        self._has["is_open"] = True

    def _forget_what_was_lost(self) -> None:
        """After a kill: clients write with a delay, so that the record may be ahead of them."""
        axes = {name: x for name, (x, _) in self._has["points"].items()}
        kept = self.client.kept(axes)
        if kept is not None:
            points = self._has["points"].items()
            self._has["points"] = {name: (x, min(at, kept[name])) for name, (x, at) in points if name in kept}
            self._has["media"] = {name: each for name, each in self._has["media"].items() if name in kept}
            self._has["shown"] = {}

    def close(self) -> None:
        """The client has everything."""
        self._has["is_open"] = False
        self._save()

    def begin(self, stage: str, identity: str) -> None:
        """A stage is about to be built. The curves of the same stage with another identity do not count any more."""
        self.stage = stage
        if self._has["begun"].get(stage, identity) != identity:
            self._has["points"] = {k: v for k, v in self._has["points"].items() if not k.startswith(f"{stage}/")}
        self._has["begun"][stage] = identity
        self._save()

    def log(self, point: Point) -> None:
        """Log those of the metrics that the run does not have up to this place."""
        known = self._has["points"]
        new = {name: value for name, value in point.values.items() if known.get(name, ("", -1))[1] < point.at}
        if new:
            self._log(new, (point.x, point.at))
            known |= dict.fromkeys(new, (point.x, point.at))
            self._save()

    def has(self, source: Source) -> bool:
        return bool(self._has["shown"].get(source.stage) == source.fingerprint)

    def show(self, shown: Shown, is_made: bool) -> None:
        """Show an artifact that this run has made, or has found complete."""
        self.client.summarise(shown.summary)
        self._has["summary"] = sorted({*self._has["summary"], *shown.summary})
        for point in shown.points:
            self.log(point)
        for name, value in shown.media.items():
            kind = type(value).__name__ if isinstance(value, Histogram | Table) else "Image"
            if self._has["media"].get(name) != [kind, shown.source.fingerprint]:
                self._log({name: value}, None)
                self._has["media"][name] = [kind, shown.source.fingerprint]
        for source, is_input in [*((each, True) for each in shown.inputs), (shown.source, not is_made)]:
            self._link(source, is_input)
        self._has["shown"][shown.source.stage] = shown.source.fingerprint
        self._save()

    def complain(self, error: Exception) -> None:
        """Say once what went wrong; the run of the cell goes on."""
        if not self._has_complained:
            reason = (str(error).strip().splitlines() or [""])[0]
            print(
                f"    {self.client.label}: {type(error).__name__}: {reason}\n    The work goes on; the same command "
                "sends again what is missing",
                flush=True,
            )
        self._has_complained = True

    def _link(self, source: Source, is_input: bool) -> None:
        fingerprint, was_input = self._has["linked"].get(source.name, ["", is_input])
        is_known = fingerprint == source.fingerprint
        if is_known and (not self._was_killed or source.name in self._linked_now):
            return
        role = was_input if is_known else is_input  # what an earlier attempt made is no input now
        self.client.link(source, role)
        self._has["linked"][source.name] = [source.fingerprint, role]
        self._linked_now.add(source.name)

    def _log(self, values: Mapping[str, Value], x: tuple[str, float] | None) -> None:
        self.client.log(values, x, self._has["row"])
        self._has["row"] += 1

    def _save(self) -> None:
        write_json(self._file, self._has)


_open: Tracker | None = None


@contextlib.contextmanager
def csv_only(**_: Any) -> Iterator[None]:
    """No tracker: metrics are in the artifacts (`metrics.csv`, `curve.parquet`, `metrics.json`)."""
    yield


@contextlib.contextmanager
def opened(tracker: Tracker) -> Iterator[None]:
    """Make a tracker the one that the functions below speak to."""
    global _open
    _open = tracker
    try:
        yield
    finally:
        _open = None


def is_open() -> bool:
    return _open is not None


def begin(stage: str, identity: Mapping[str, Any]) -> None:
    """Tell the open tracker, if any, that a stage is about to be built (`Artifact.identity`)."""
    digest = hashlib.blake2b(json.dumps(plain(identity), sort_keys=True).encode(), digest_size=8).hexdigest()
    _tell(lambda tracker: tracker.begin(stage, digest))


def show(source: Source, read: Callable[[], Shown], is_made: bool) -> None:
    """Show an artifact in the open tracker, if any, unless that has it already.

    Args:
        read: makes what is shown; it may read much.
        is_made: by this command; otherwise the artifact was complete.
    """
    _tell(lambda tracker: None if tracker.has(source) else tracker.show(read(), is_made))


def loggers() -> list[Any]:
    """Lightning loggers that send metrics to the open tracker, under the stage being built; none without a tracker."""
    if _open is None:
        return []
    from qurating.training.live_metrics import LiveMetrics

    stage = _open.stage
    return [LiveMetrics(lambda metrics, step: _tell(lambda tracker: tracker.log(point(stage, metrics, step))))]


def point(stage: str, metrics: Mapping[str, float], step: float) -> Point:
    """A point of a training: metrics by step, but those on held-out text by `heldout/tokens`, if they come with it."""
    values = {f"{stage}/{name}": value for name, value in metrics.items() if name != "epoch"}
    tokens = values.pop(f"{stage}/heldout/tokens", None)
    return Point(f"{stage}/step", step, values) if tokens is None else Point(f"{stage}/heldout/tokens", tokens, values)


def _tell(act: Callable[[Tracker], None]) -> None:
    if _open is not None:
        try:
            act(_open)
        except Exception as error:  # a server that fails, a full disk: no reason to stop the work itself
            _open.complain(error)
