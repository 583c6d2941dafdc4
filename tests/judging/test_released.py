"""Rows of released judgments: read from files, and refused with their place."""

import copy
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from compression_example import written
from released_rows import CRITERIA, row

from qurating.judging.released import checked, rows_of_files
from qurating.runtime.errors import StageError


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
            r"writing_style_votes_a is '\[\[-100, 4.*: it must be a 2 × 2 nested list",
        ),
        ("writing_style_votes_b", [[-100, None], [1, -100]], "all entries must be numbers"),
        ("writing_style_votes_b", [[-100, -3], [1, -100]], "0 or more, or −100"),
        ("facts_and_trivia_average", [[-100, float("nan")], [0.5, -100]], "0 or more, or −100"),
        ("facts_and_trivia_average", [[-100, 0.7], [0.7, -100]], "probabilities of sum 1"),
        ("facts_and_trivia_average", [[-100, 16], [4, -100]], "probabilities of sum 1"),
        ("facts_and_trivia_average", [[-100, 0.7], [-100, -100]], "or both −100"),
        ("facts_and_trivia_average", [[0.5, 0.7], [0.3, 0.5]], "its diagonal must be −100"),
    ],
)
def test_a_bad_row_is_refused_with_its_place(key: str, value: Any, message: str) -> None:
    bad = copy.deepcopy(row(0)) | {key: value}
    with pytest.raises(StageError, match=rf"^here, row 7: .*{message}"):
        checked("here, row 7", bad, CRITERIA)


def test_rows_are_read_alike_from_parquet_and_from_lines(tmp_path: Path) -> None:
    rows = [row(number, p=number / 10) for number in range(5)]
    pq.write_table(pa.Table.from_pylist(rows[:3]), tmp_path / "a.parquet")
    (tmp_path / "b.jsonl").write_text("".join(json.dumps(given) + "\n" for given in rows[3:]), encoding="utf-8")
    found = list(rows_of_files([str(tmp_path / "*.jsonl"), str(tmp_path / "a.parquet")]))
    assert [given for _, given in found] == rows
    assert [place.removeprefix(f"{tmp_path}/") for place, _ in found] == [
        "a.parquet, row 0", "a.parquet, row 1", "a.parquet, row 2", "b.jsonl, line 1", "b.jsonl, line 2",
    ]  # fmt: skip
    content = "\ufeff" + json.dumps(rows[3] | {"note": "\u2028"}, ensure_ascii=False) + "\r\n\r\n" + json.dumps(rows[4])
    found = list(rows_of_files(str(written(tmp_path / "c.jsonl.xz", content.encode(), members=2))))
    assert [place.removeprefix(f"{tmp_path}/") for place, _ in found] == ["c.jsonl.xz, line 1", "c.jsonl.xz, line 3"]
    (tmp_path / "b.jsonl").write_text(json.dumps(rows[3]) + "\n{", encoding="utf-8")
    with pytest.raises(StageError, match=r"b\.jsonl, line 2: not JSON"):
        list(rows_of_files(str(tmp_path / "b.jsonl")))
