"""Judgments in the released columns: imported unchanged, or refused with a message that says what to do."""

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from released_rows import CRITERIA, row

from qurating.artifacts.files import read_json
from qurating.runtime.errors import StageError
from qurating.stages.judging.import_judgments import import_judgments

ABSENT = [[-100.0, -100.0], [-100.0, -100.0]]


def imported(folder: Path, paths: Any, **changes: Any) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    source = {"name": "mine", "paths": paths, "dataset": "a/b"} | changes
    return import_judgments(output=folder, source=source, criteria=CRITERIA)


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_rows_are_imported_unchanged(tmp_path: Path, kind: str) -> None:
    rows = [row(0), row(1, 0.1), row(2) | {"facts_and_trivia_average": ABSENT}]
    file = tmp_path / f"released.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    else:
        file.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    counts = imported(tmp_path / "out", str(file))
    assert counts == {"pairs": 3, "judged": {"writing_style": 3, "facts_and_trivia": 2}, "labels": []}
    found = pq.read_table(tmp_path / "out/judgments.parquet").to_pylist()
    for number, (one, given) in enumerate(zip(found, rows, strict=True)):
        assert {key: one[key] for key in given} == given
        assert one["indices"] == [2 * number, 2 * number + 1]
        assert one["domains"] == ["mine", "mine"]
    assert read_json(tmp_path / "out/summary.json")["criteria"]["facts_and_trivia"] == {
        "num_pairs": 2,
        "confident": 0.5,
    }
    one = imported(tmp_path / "one", [str(file)], num_pairs=1, simulated=True)
    assert (one["pairs"], one["labels"]) == (1, ["simulated judge"])


def test_unreadable_files_are_refused_with_a_message_that_says_what_to_do(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps(row(0)) + "\n\n{broken\n", encoding="utf-8")
    with pytest.raises(StageError, match=r"a\.jsonl, line 3: not JSON"):
        imported(tmp_path / "out", str(file))
    other = row(0)
    del other["facts_and_trivia_average"]
    file.write_text(json.dumps(other), encoding="utf-8")
    with pytest.raises(
        StageError, match=r"line 1: the column facts_and_trivia_average is missing; the row is judged by writing_s"
    ):
        imported(tmp_path / "out", str(file))
    with pytest.raises(StageError, match="no file matches"):
        imported(tmp_path / "out", str(tmp_path / "*.parquet"))
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(StageError, match=r"b\.parquet, row 0: cannot be read as Parquet"):
        imported(tmp_path / "out", str(tmp_path / "b.parquet"))
    (tmp_path / "c.jsonl").touch()
    with pytest.raises(StageError, match="has no judgments"):
        imported(tmp_path / "out", str(tmp_path / "c.jsonl"))
    with pytest.raises(StageError, match=r"set judge.paths to files, or judge.dataset"):
        imported(tmp_path / "out", None, dataset=None)
