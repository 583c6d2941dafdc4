"""Judgments in the released columns: taken over as they are, or refused with the file and the row."""

import copy
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qurating.artifacts.files import read_json
from qurating.judging.released import checked
from qurating.runtime.errors import StageError
from qurating.stages.judging.import_judgments import import_judgments

CRITERIA = ["writing_style", "facts_and_trivia"]


def row(number: int, p: float = 0.7) -> dict[str, Any]:
    """As in the released set: whole votes, and an average that sums to 1 with its transpose."""
    found: dict[str, Any] = {"texts": [f"The first text, {number}.", f"The second text, {number}."]}
    for name in CRITERIA:
        found[f"{name}_votes_a"] = [[-100, 4], [14, -100]]
        found[f"{name}_votes_b"] = [[-100, 16], [6, -100]]
        found[f"{name}_average"] = [[-100.0, p], [1 - p, -100.0]]
    return found


ABSENT = [[-100.0, -100.0], [-100.0, -100.0]]


def taken(folder: Path, paths: Any, **changes: Any) -> dict[str, Any]:
    folder.mkdir(exist_ok=True)
    source = {"name": "mine", "paths": paths, "dataset": "a/b"} | changes
    return import_judgments(output=folder, source=source, criteria=CRITERIA)


@pytest.mark.parametrize("kind", ["parquet", "jsonl"])
def test_rows_are_taken_over_as_they_are(tmp_path: Path, kind: str) -> None:
    rows = [row(0), row(1, 0.1), row(2) | {"facts_and_trivia_average": ABSENT}]
    file = tmp_path / f"released.{kind}"
    if kind == "parquet":
        pq.write_table(pa.Table.from_pylist(rows), file)
    else:
        file.write_text("\n".join(map(json.dumps, rows)) + "\n", encoding="utf-8")
    counts = taken(tmp_path / "out", str(file))
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
    one = taken(tmp_path / "one", [str(file)], num_pairs=1, simulated=True)
    assert (one["pairs"], one["labels"]) == (1, ["simulated judge"])


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("texts", ["one"], "`texts` must be two texts"),
        ("texts", ["one", "  "], "neither of them blank"),
        ("texts", ["one", "\ud800"], "half a character"),
        ("indices", [1, "2"], "`indices` must be two whole numbers"),
        (
            "writing_style_votes_a",
            [[-100, 4]],
            r"writing_style_votes_a must be a 2 × 2 nested list, and is '\[\[-100, 4",
        ),
        ("writing_style_votes_b", [[-100, None], [1, -100]], "holds what is no number"),
        ("writing_style_votes_b", [[-100, -3], [1, -100]], "0 or more, or −100"),
        ("facts_and_trivia_average", [[-100, float("nan")], [0.5, -100]], "0 or more, or −100"),
        ("facts_and_trivia_average", [[-100, 0.7], [0.7, -100]], "probabilities of sum 1"),
        ("facts_and_trivia_average", [[-100, 16], [4, -100]], "probabilities of sum 1"),
        ("facts_and_trivia_average", [[-100, 0.7], [-100, -100]], "or both −100"),
        ("facts_and_trivia_average", [[0.5, 0.7], [0.3, 0.5]], "−100 must stand on its diagonal"),
    ],
)
def test_a_bad_row_is_refused_with_its_place(key: str, value: Any, message: str) -> None:
    bad = copy.deepcopy(row(0)) | {key: value}
    with pytest.raises(StageError, match=rf"^here, row 7: .*{message}"):
        checked("here, row 7", bad, CRITERIA)


def test_files_that_cannot_be_read_are_refused_with_the_way_out(tmp_path: Path) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text(json.dumps(row(0)) + "\n\n{broken\n", encoding="utf-8")
    with pytest.raises(StageError, match=r"a\.jsonl, line 3: not JSON"):
        taken(tmp_path / "out", str(file))
    other = row(0)
    del other["facts_and_trivia_average"]
    file.write_text(json.dumps(other), encoding="utf-8")
    with pytest.raises(
        StageError, match=r"line 1: there is no column facts_and_trivia_average; it is judged by writing_s"
    ):
        taken(tmp_path / "out", str(file))
    with pytest.raises(StageError, match="no file matches"):
        taken(tmp_path / "out", str(tmp_path / "*.parquet"))
    (tmp_path / "b.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(StageError, match=r"b\.parquet, row 0: it cannot be read as Parquet"):
        taken(tmp_path / "out", str(tmp_path / "b.parquet"))
    (tmp_path / "c.jsonl").touch()
    with pytest.raises(StageError, match="holds no judgments"):
        taken(tmp_path / "out", str(tmp_path / "c.jsonl"))
    with pytest.raises(StageError, match=r"set judge.paths to files, or judge.dataset"):
        taken(tmp_path / "out", None, dataset=None)
