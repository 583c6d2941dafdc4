"""Lines that have no score, and files that are cut short."""

from pathlib import Path

import numpy as np
import pytest
from compression_example import written
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
        ('{"score": NaN}', "line 3: score is nan, not a finite number"),
        ('{"score": -Infinity}', "line 3: score is -inf, not a finite number"),
        ('{"score": 1e400}', "line 3: score is inf, not a finite number"),
        (f'{{"score": 1{"0" * 400}}}', "line 3: int too large"),
        ("[1, 2]", "line 3: holds a value of type list, not a record"),
        (
            '{"text": "", "lqs": 1}',
            r"line 3: no field 'score' \(found the fields text, lqs\)\n  Set .*: stages\.order_lines\.score_field",
        ),
        ('{"score": "1.0"}', 'line 3: score is not a number: "1.0"'),
        (r'{"score": "\ud83d"}', r'line 3: score is not a number: "\\ud83d"'),
        ('{"score": null}', "line 3: score is not a number: null"),
        ('{"score": true}', "line 3: score is not a number: true"),
    ],
)
def test_a_line_without_a_score_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "x.jsonl").write_text(f'{{"score": 1}}\n\n{line}\n{{"score": 2}}\n')
    with pytest.raises(StageError, match=r"x\.jsonl, " + message):
        ordered(tmp_path / "out", str(tmp_path / "x.jsonl"))


def test_a_file_that_is_cut_short_meanwhile_leaves_no_half_result(files: list[Path], tmp_path: Path) -> None:
    lines = scored_lines.index_lines({file: file for file in files}, "score")
    files[1].write_bytes(files[1].read_bytes()[:-3])
    with pytest.raises(StageError, match=r"b\.jsonl was cut short"):
        scored_lines.copy_lines(lines, np.arange(len(lines.scores)), tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()


def test_unpacked_files_are_plain_and_gone_afterwards(tmp_path: Path) -> None:
    plain, packed = tmp_path / "a.jsonl", written(tmp_path / "b.jsonl.gz", b'{"score": 1}\r\n\n{"score": 2}', members=2)
    plain.write_bytes(b'{"score": 3}\n')
    folder = tmp_path / "unpacked"
    folder.mkdir()
    (folder / "00007").write_text("of a killed run")
    with scored_lines.unpacked([plain, packed], folder) as found:
        assert list(found.values()) == [plain, packed]
        assert [file.read_bytes() for file in found] == [b'{"score": 3}\n', b'{"score": 1}\r\n\n{"score": 2}\n']
        assert len(list(folder.iterdir())) == 1
        assert scored_lines.index_lines(found, "score").scores.tolist() == [3, 1, 2]
    assert not folder.exists()
    assert plain.exists()


def test_a_bad_line_of_an_unpacked_file_is_named_as_its_own_file(tmp_path: Path) -> None:
    written(tmp_path / "b.jsonl.zst", b'{"score": 1}\n{"score": null}')
    with pytest.raises(StageError, match=r"b\.jsonl\.zst, line 2: score is not a number"):
        ordered(tmp_path / "out", str(tmp_path / "b.jsonl.zst"))
    assert list((tmp_path / "out").iterdir()) == []


def test_a_line_that_only_python_reads_does_not_stop_its_neighbours(tmp_path: Path) -> None:
    lines = [b'{"score": 1, "x": NaN}', b'{"score": 2, "text": "\\ud83d"}', b'{"score": 3}']
    (tmp_path / "a.jsonl").write_bytes(b"\n".join(lines))
    ordered(tmp_path / "out", str(tmp_path / "a.jsonl"), method="sorting", descending=True)
    assert (tmp_path / "out/lines.jsonl").read_bytes() == b"".join(line + b"\n" for line in reversed(lines))
