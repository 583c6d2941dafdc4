"""Take over judgments that are there, such as the released 250K, in the place of asking a judge."""

import itertools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from tqdm import tqdm

from qurating.artifacts import StageError, write_json, write_table
from qurating.readers import Hub
from qurating.released_judgments import KINDS, checked, rows_of_files


def import_judgments(*, output: Path, source: Mapping[str, Any], criteria: Sequence[str]) -> dict[str, Any]:
    """Check every row, and write `judgments.parquet` and `summary.json` as `stage=judge` does.

    The rows keep their order. Those without `indices` get running numbers. All are of the domain `source.name`, for
    released judgments do not say it.

    Args:
        source: of the group `judge`: `name`; `paths` of files, or else `dataset`, `subset` and `split` of the Hub;
            `num_pairs`, the first so many, or None; `simulated`, whether no language model judged.
        criteria: to take over; all of them must be there.

    Raises:
        StageError: files or a data set that cannot be had; a row that is not as it should be, with its place.
    """
    if source.get("paths"):
        rows = rows_of_files(source["paths"])
    elif source.get("dataset"):
        name = source["dataset"]
        hub = Hub(dataset=name, name=name, subset=source.get("subset"), split=source.get("split", "train"))
        rows = ((f"{name}, row {number}", row) for number, row in enumerate(hub.rows()))
    else:
        raise StageError("judgments to take over: set judge.paths to files, or judge.dataset to a data set of the Hub")
    progress = tqdm(
        itertools.islice(rows, source.get("num_pairs")), desc="check judgments", unit="pair", mininterval=0.5
    )
    found = [checked(where, row, criteria) for where, row in progress]
    if not found:
        raise StageError(f"{source.get('paths') or source['dataset']} holds no judgments")
    for number, row in enumerate(found):
        row["indices"] = row["indices"] or [2 * number, 2 * number + 1]
    matrix = pa.list_(pa.list_(pa.float64()))
    columns: dict[str, Any] = {
        "texts": pa.array([row["texts"] for row in found], pa.list_(pa.string())),
        "indices": pa.array([row["indices"] for row in found], pa.list_(pa.int64())),
        "domains": pa.array([[source["name"]] * 2] * len(found), pa.list_(pa.string())),
        "method": pa.array(["imported"] * len(found)),
    }
    for name in criteria:
        for kind in KINDS:
            columns[f"{name}_{kind}"] = pa.array([row[f"{name}_{kind}"] for row in found], matrix)
    write_table(output / "judgments.parquet", pa.table(columns))
    judged = {name: sum(row[f"{name}_average"][0][1] >= 0 for row in found) for name in criteria}
    given = source.get("paths") or source["dataset"]
    summary = {
        "judge": source["name"],
        "simulated": bool(source.get("simulated")),
        "method": "imported",
        "source": given if isinstance(given, str) and not source.get("paths") else source.get("files"),
        "num_pairs": len(found),
        "criteria": {
            name: {"num_pairs": judged[name], "confident": _confident([row[f"{name}_average"][0][1] for row in found])}
            for name in criteria
        },
    }
    write_json(output / "summary.json", summary)
    return {"pairs": len(found), "judged": judged, "labels": ["simulated judge"] if source.get("simulated") else []}


def _confident(preferences: Sequence[float]) -> float | None:
    """The share with |2p − 1| ≥ ½ of those that are there."""
    p = np.array(preferences)
    p = p[p >= 0]
    return float((np.abs(2 * p - 1) >= 0.5).mean()) if len(p) else None
