"""A small corpus in shards, and ratings of it that others made."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qurating.corpus.sequence_ids import sequence_id
from qurating.stages.selection.import_ratings import import_ratings

# documents and their numbers of sequences, by shard
TRAIN = [{"a:1": 1, "b": 3, "数": 1}, {"d": 2, "e": 1}]
HELDOUT = {"h1": 2, "h2": 1}


def sequences(documents: dict[str, int]) -> list[dict[str, Any]]:
    return [
        {"id": sequence_id(name, position), "document_id": name, "position": position, "length": 10 + position}
        for name, number in documents.items()
        for position in range(number)
    ]


def corpus_of(folder: Path) -> Path:
    for split, parts in (("train", TRAIN), ("heldout", [HELDOUT])):
        (folder / split).mkdir(parents=True)
        for number, documents in enumerate(parts):
            pq.write_table(pa.Table.from_pylist(sequences(documents)), folder / split / f"{number:05d}.parquet")
    return folder


def written(path: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Rows as Parquet or JSON lines, by the ending."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(list(rows)), path, row_group_size=2)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return path


def imported(output: Path, corpus: Path, paths: Any, **changes: Any) -> dict[str, Any]:
    output.mkdir(exist_ok=True)
    settings: dict[str, Any] = {
        "files": "2 files, 0123",
        "columns": None,
        "document_field": None,
        "missing_value": None,
    }
    given = str(paths) if isinstance(paths, Path) else paths
    return import_ratings(output=output, corpus=corpus, paths=given, **(settings | changes))


def rows_of(output: Path) -> list[dict[str, Any]]:
    return [row for file in sorted((output / "train").glob("*.parquet")) for row in pq.read_table(file).to_pylist()]
