"""Lines that have no score, and files that are cut short."""

from pathlib import Path

import numpy as np
import pytest
from scored_lines_example import odd_files, ordered

from qurating.corpus import scored_lines
from qurating.runtime.errors import StageError


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return odd_files(tmp_path)


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"score": 1', "line 3: not JSON"),
        ('{"score": NaN}', r"line 3: not JSON \(JSON has no NaN\)"),
        ('{"score": -Infinity}', r"line 3: not JSON \(JSON has no -Infinity\)"),
        ("[1, 2]", "line 3: no field score; its fields: none"),
        ('{"text": "", "lqs": 1}', "line 3: no field score; its fields: text, lqs"),
        ('{"score": "1.0"}', 'line 3: score is not a number: "1.0"'),
        ('{"score": null}', "line 3: score is not a number: null"),
        ('{"score": true}', "line 3: score is not a number: true"),
    ],
)
def test_a_line_without_a_score_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "x.jsonl").write_text(f'{{"score": 1}}\n\n{line}\n{{"score": 2}}\n')
    with pytest.raises(StageError, match=r"x\.jsonl, " + message):
        ordered(tmp_path / "out", str(tmp_path / "x.jsonl"))


def test_a_file_that_is_cut_short_meanwhile_leaves_no_half_result(files: list[Path], tmp_path: Path) -> None:
    lines = scored_lines.index_lines(files, "score")
    files[1].write_bytes(files[1].read_bytes()[:-3])
    with pytest.raises(StageError, match=r"b\.jsonl was cut short"):
        scored_lines.copy_lines(lines, np.arange(len(lines.scores)), tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
