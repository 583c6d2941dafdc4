"""The files of offline runs of Weights & Biases: what a killed process has really written."""

import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_HEAD_BYTES, _BLOCK_BYTES = 7, 32768  # of a file, and of a part; parts do not cross blocks (a log of LevelDB)
_WHOLE, _FIRST, _LAST = 1, 2, 4  # kinds of parts; a first part is empty if exactly its head fits into a block


def records(file: Path) -> Iterator[Any]:
    """The records (`wandb_internal_pb2.Record`) of a file, up to the first that a kill has cut short."""
    from wandb.proto import wandb_internal_pb2

    data, place, whole = file.read_bytes(), _HEAD_BYTES, b""
    while place + _HEAD_BYTES <= len(data):
        left = _BLOCK_BYTES - place % _BLOCK_BYTES
        if left < _HEAD_BYTES:
            place += left
            continue
        _, length, kind = struct.unpack_from("<IHB", data, place)
        start, place = place + _HEAD_BYTES, place + _HEAD_BYTES + length
        if place > len(data) or not kind:
            return
        whole = data[start:place] if kind in (_WHOLE, _FIRST) else whole + data[start:place]
        if kind in (_WHOLE, _LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(whole)
            yield record


def row(record: Any) -> dict[str, Any]:
    """A row of the history: name -> value; histograms and tables are mappings."""
    found: dict[str, Any] = {}
    for item in record.history.item:
        name, *rest = item.nested_key or [item.key]
        value = json.loads(item.value_json)
        found[name] = {**found.get(name, {}), "/".join(rest): value} if rest else value
    return found


def last_places(folder: Path, run_id: str, axes: Mapping[str, str]) -> dict[str, float]:
    """Everything that the offline files of a run have: name -> the last place on its axis, 0 without an axis.

    Args:
        folder: `<folder>/wandb`.
        axes: metric -> its axis.
    """
    found: dict[str, float] = {}
    for file in sorted(folder.glob(f"offline-run-*-{run_id}/run-{run_id}.wandb")):
        for record in records(file):
            if record.WhichOneof("record_type") == "history":
                logged = row(record)
                found |= {name: float(logged.get(axes.get(name, ""), 0.0)) for name in logged}
    return found
