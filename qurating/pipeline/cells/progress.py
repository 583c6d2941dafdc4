"""How far a stage is, from what it has written into its working folder."""

import contextlib
import csv
import glob
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

from qurating.artifacts import lineage
from qurating.artifacts.files import read_json
from qurating.artifacts.manifest import referenced_name
from qurating.runtime.errors import StageError


class Progress(NamedTuple):
    """`done` of `total` steps, shards, requests or tasks, as `unit` says; `total` is None where it is unknown."""

    done: int
    total: int | None
    unit: str


def of(stage: str, name: str, root: Path) -> Progress | None:
    """How far the stage is that builds the artifact `name` under `root`; None if its working folder does not tell."""
    kind, _, last = name.partition("/")
    working, plan = root / kind / f".{last}.partial", root / kind / f".{last}.plan.json"
    with contextlib.suppress(OSError, StageError, KeyError, ValueError, TypeError):
        if not working.is_dir():
            return None
        if (working / "metrics").is_dir():
            return _training(working / "metrics")
        if (working / "journal.jsonl").is_file():
            return _requests(working)
        if stage in lineage.SHAREABLE:
            corpus = root / referenced_name(read_json(plan)["identity"]["inputs"]["corpus"])
            return Progress(_shards(working), _shards(corpus), "shards")
        if stage == lineage.CORPUS:
            return Progress(_shards(working), None, "shards")
        if (working / "finished").is_dir():
            return Progress(len(list((working / "finished").glob("*.json"))), None, "tasks")
    return None


def builder(name: str, root: Path) -> tuple[str, int] | None:
    """The host and process that build an artifact; None if nobody does, or several do together."""
    kind, _, last = name.partition("/")
    shared = (root / kind).glob(f".{glob.escape(last)}.share-*.lock")
    with contextlib.suppress(OSError, StageError, KeyError, TypeError):
        plan = read_json(root / kind / f".{last}.plan.json")
        return None if any(shared) else (plan["host"], plan["process"])
    return None


def _training(metrics: Path) -> Progress:
    """The last step that was logged: steps of an earlier attempt after its last checkpoint do not count."""
    attempts = sorted(metrics.glob("from_step_*/metrics.csv"), key=_start)
    done = max((step for file in attempts[-1:] for step in [_start(file), *_steps(file)]), default=0)
    total = read_json(metrics / "total.json") if (metrics / "total.json").is_file() else None
    return Progress(done, total, "steps")


def _steps(file: Path) -> Iterator[int]:
    with open(file, newline="", encoding="utf-8") as stream:
        yield from (int(row["step"]) + 1 for row in csv.DictReader(stream) if row["step"])


def _start(file: Path) -> int:
    return int(file.parent.name.removeprefix("from_step_"))


def _requests(working: Path) -> Progress:
    with open(working / "journal.jsonl", "rb") as stream:
        done = sum(block.count(b"\n") for block in iter(lambda: stream.read(1 << 20), b""))
    total: Any = read_json(working / "total.json") if (working / "total.json").is_file() else None
    return Progress(done, total, "requests")


def _shards(folder: Path) -> int:
    return len(list((folder / "train").glob("[!.]*.parquet")))
