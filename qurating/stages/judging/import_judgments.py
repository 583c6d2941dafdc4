"""Import existing judgments, such as the released 250K, instead of asking a judge."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from qurating.artifacts.files import parquet_format, replacing, write_json
from qurating.corpus.readers import Hub
from qurating.judging.preferences import ABSENT, CONFIDENT
from qurating.judging.released import KINDS, checked, rows_of_files
from qurating.runtime.errors import StageError

ROWS_AT_A_TIME = 10_000


def import_judgments(*, output: Path, source: Mapping[str, Any], criteria: Sequence[str]) -> dict[str, Any]:
    """Check every row, and write `judgments.parquet` and `summary.json` as `stage=judge` does.

    The rows keep their order. Rows without `indices` get running numbers. The domain of all rows is `source.name`,
    because released judgments have no domains.

    Args:
        source: settings of the group `judge`: `name`; `paths` of files, else `dataset`, `subset` and `split` on the
            Hub; `num_pairs`, the number of rows to import, or None for all; `simulated`, true if no language model
            judged.
        criteria: criteria to import; every row must have all of them.

    Raises:
        StageError: inaccessible files or data set; an invalid row, with its place.
    """
    if source.get("paths"):
        rows = rows_of_files(source["paths"])
    elif source.get("dataset"):
        name = source["dataset"]
        hub = Hub(dataset=name, name=name, subset=source.get("subset"), split=source.get("split", "train"))
        rows = ((f"{name}, row {number}", row) for number, row in enumerate(hub.rows()))
    else:
        raise StageError("no judgments to import: set judge.paths to files, or judge.dataset to a data set of the Hub")
    progress = tqdm(
        itertools.islice(rows, source.get("num_pairs")), desc="check judgments", unit="pair", mininterval=0.5
    )
    schema = _schema(criteria)
    tallies = {name: _Tally() for name in criteria}
    num_pairs = 0
    file = output / "judgments.parquet"
    with replacing(file) as temporary, pq.ParquetWriter(temporary, schema, **parquet_format(schema)) as writer:
        checked_rows = (checked(where, row, criteria) for where, row in progress)
        while part := list(itertools.islice(checked_rows, ROWS_AT_A_TIME)):
            for row in part:
                row["indices"] = row["indices"] or [2 * num_pairs, 2 * num_pairs + 1]
                row |= {"domains": [source["name"]] * 2, "method": "imported"}
                num_pairs += 1
                for name in criteria:
                    tallies[name].add(row[f"{name}_average"][0][1])
            writer.write_table(pa.Table.from_pylist(part, schema))
        if not num_pairs:
            raise StageError(f"{source.get('paths') or source['dataset']} has no judgments")
    given = source.get("paths") or source["dataset"]
    summary = {
        "judge": source["name"],
        "simulated": bool(source.get("simulated")),
        "method": "imported",
        "source": given if isinstance(given, str) and not source.get("paths") else source.get("files"),
        "num_pairs": num_pairs,
        "criteria": {name: tallies[name].figures() for name in criteria},
    }
    write_json(output / "summary.json", summary)
    judged = {name: tallies[name].num_pairs for name in criteria}
    return {"pairs": num_pairs, "judged": judged, "labels": ["simulated judge"] if source.get("simulated") else []}


def _schema(criteria: Sequence[str]) -> pa.Schema:
    matrix = pa.list_(pa.list_(pa.float64()))
    columns = {
        "texts": pa.list_(pa.string()),
        "indices": pa.list_(pa.int64()),
        "domains": pa.list_(pa.string()),
        "method": pa.string(),
    }
    return pa.schema([*columns.items(), *((f"{name}_{kind}", matrix) for name in criteria for kind in KINDS)])


@dataclass
class _Tally:
    """Counts the pairs judged by a criterion, and those with |2p − 1| ≥ ½."""

    num_pairs: int = 0
    num_confident: int = 0

    def add(self, preference: float) -> None:
        if preference != ABSENT:
            self.num_pairs += 1
            self.num_confident += abs(2 * preference - 1) >= CONFIDENT

    def figures(self) -> dict[str, Any]:
        return {
            "num_pairs": self.num_pairs,
            "confident": self.num_confident / self.num_pairs if self.num_pairs else None,
        }
