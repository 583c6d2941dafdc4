"""What an offline run of Weights & Biases holds, read from the files that the real client has written."""

import json
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

_BLOCK_BYTES = 32768  # a LevelDB log after a header of 7 bytes: a record never crosses a block, but for its parts


@dataclass
class OfflineRun:
    """All attempts of one run. `history`: rows as they were logged; `axes`: metric -> its x axis."""

    name: str = ""
    group: str = ""
    project: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    axes: dict[str, str] = field(default_factory=dict)
    used: dict[str, Any] = field(default_factory=dict)  # artifacts by name
    made: dict[str, Any] = field(default_factory=dict)
    exit_codes: list[int] = field(default_factory=list)

    def logged(self) -> set[str]:
        """Everything that was logged, but for the client's own."""
        logged = {key for row in self.history for key in row}
        return {key for key in logged | self.summary.keys() if not key.startswith("_")}

    def points(self, metric: str) -> list[tuple[float, float]]:
        """(x, value) of a metric, in the order in which they were logged."""
        return [(row[self.axes[metric]], row[metric]) for row in self.history if metric in row]


def read_runs(folder: Path) -> dict[str, OfflineRun]:
    """The offline runs under a folder `wandb`, by id."""
    found: dict[str, OfflineRun] = {}
    for file in sorted(folder.glob("offline-run-*/*.wandb")):
        run = found.setdefault(file.stem.removeprefix("run-"), OfflineRun())
        for record in _records(file.read_bytes()):
            _add(run, record)
    return found


def _records(data: bytes) -> Iterator[Any]:
    place, parts = 7, b""
    while place + 7 <= len(data):
        left = _BLOCK_BYTES - place % _BLOCK_BYTES
        if left < 7:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        part = data[place + 7 : place + 7 + length]
        parts = part if kind in (1, 2) else parts + part  # 1: whole, 2: first, 3: middle, 4: last
        place += 7 + length
        if kind in (1, 4):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(parts)
            yield record


def _add(run: OfflineRun, record: Any) -> None:
    kind = record.WhichOneof("record_type")
    if kind == "run":
        run.name, run.group, run.project = record.run.display_name, record.run.run_group, record.run.project
        run.tags = list(record.run.tags)
        run.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
    elif kind == "history":
        row: dict[str, Any] = {}
        for item in record.history.item:
            key, *rest = item.nested_key or [item.key]
            value = json.loads(item.value_json)
            row[key] = {**row.get(key, {}), "/".join(rest): value} if rest else value
        run.history.append(row)
    elif kind == "summary":
        for item in record.summary.update:
            run.summary[(item.nested_key or [item.key])[0]] = json.loads(item.value_json)
    elif kind == "metric" and record.metric.step_metric:
        run.axes[record.metric.name] = record.metric.step_metric
    elif kind == "artifact" and record.artifact.user_created:
        (run.used if record.artifact.use_after_commit else run.made)[record.artifact.name] = record.artifact
    elif kind == "exit":
        run.exit_codes.append(record.exit.exit_code)
