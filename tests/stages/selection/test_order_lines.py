"""Scored JSON lines: the best of them, in order, byte for byte."""

import gzip
import json
import math
from pathlib import Path
from typing import Any

import pytest
from compression_example import ENDINGS, written
from scored_lines_example import odd_files, ordered

from qurating.runtime.errors import StageError


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    return odd_files(tmp_path)


def test_each_method_is_its_definition_byte_for_byte(files: list[Path], tmp_path: Path) -> None:
    lines = [line for file in files for line in file.read_bytes().split(b"\n") if line.strip()]
    score = [float(json.loads(line)["score"]) for line in lines]
    places = range(len(lines))
    ranked = sorted(places, key=lambda i: (score[i], i))
    best = sorted(sorted(places, key=lambda i: (-score[i], i))[: math.floor(0.3 * len(lines))])
    worst = sorted(ranked[: math.floor(0.3 * len(lines))])
    by_score = sorted(best, key=lambda i: (score[i], i))
    cases: list[tuple[dict[str, Any], list[int]]] = [
        ({"method": None}, list(places)),
        ({"method": "sorting"}, ranked),
        ({"method": "sorting", "descending": True}, sorted(places, key=lambda i: (-score[i], i))),
        ({"num_folds": 4}, [i for layer in range(4) for i in ranked[layer::4]]),
        ({"method": None, "fraction": 0.3}, best),
        ({"method": None, "fraction": 0.3, "inverse": True}, worst),
        ({"fraction": 0.3}, [i for layer in range(3) for i in by_score[layer::3]]),
    ]
    for number, (changes, expected) in enumerate(cases):
        counts = ordered(tmp_path / f"out{number}", [str(file) for file in files], **changes)
        written = (tmp_path / f"out{number}" / "lines.jsonl").read_bytes()
        assert written == b"".join(lines[i] + b"\n" for i in expected), changes
        assert counts["lines"] == len(expected)
        assert counts["bytes"] == len(written)


def test_a_shuffle_depends_on_the_seed_alone(files: list[Path], tmp_path: Path) -> None:
    paths = str(tmp_path / "*.jsonl")
    found = [ordered(tmp_path / f"o{i}", paths, method="shuffle", seed=seed) for i, seed in enumerate((1, 1, 2))]
    assert found[0]["order_sha256"] == found[1]["order_sha256"] != found[2]["order_sha256"]
    written = [sorted((tmp_path / f"o{i}" / "lines.jsonl").read_bytes().split(b"\n")) for i in range(3)]
    assert written[0] == written[1] == written[2]


def test_a_score_within_another_field(tmp_path: Path) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text('{"meta": {"q": 2}}\n{"meta": {"q": 1e0}}\n')
    ordered(tmp_path / "out", str(file), score_field="meta.q", method="sorting")
    assert (tmp_path / "out" / "lines.jsonl").read_text() == '{"meta": {"q": 1e0}}\n{"meta": {"q": 2}}\n'


def test_scores_that_order_nothing_are_told(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "x.jsonl"
    file.write_text('{"score": 2}\n{"score": 2.0}\n')
    cases: list[tuple[dict[str, Any], list[str]]] = [
        ({"method": "sorting"}, ["constant scores"]),
        ({"method": None, "fraction": 0.5}, ["constant scores"]),
        ({"method": "shuffle"}, []),
    ]
    for number, (changes, expected) in enumerate(cases):
        assert ordered(tmp_path / f"out{number}", str(file), **changes).get("labels", []) == expected
        assert ("all scores are equal" in capsys.readouterr().out) == bool(expected)


def test_a_field_with_a_dot_in_its_name(tmp_path: Path) -> None:
    """It comes before a field within a field, line by line, as in every reader."""
    lines = ['{"meta.q": 3, "meta": {"q": 0}}', '{"meta": {"q": 2}}', '{"meta.q": 1}']
    (tmp_path / "x.jsonl").write_text("\n".join(lines))
    ordered(tmp_path / "out", str(tmp_path / "x.jsonl"), score_field="meta.q", method="sorting")
    assert (tmp_path / "out" / "lines.jsonl").read_text() == "".join(line + "\n" for line in reversed(lines))


@pytest.mark.parametrize("ending", ENDINGS)
def test_marks_line_ends_and_compression(tmp_path: Path, ending: str) -> None:
    """A byte order mark belongs to the file and is left out; everything else is copied."""
    lines = [b'{"score": 2, "t": "\xe2\x80\xa8"}\r', b'{"score": 1}\r', b'{"score": 3}']
    written(tmp_path / f"x.jsonl{ending}", b"\xef\xbb\xbf" + lines[0] + b"\n\r\n" + b"\n".join(lines[1:]))
    counts = ordered(tmp_path / "out", str(tmp_path / f"x.jsonl{ending}"), method="sorting")
    expected = b"".join(lines[i] + b"\n" for i in (1, 0, 2))
    assert (tmp_path / "out" / "lines.jsonl").read_bytes() == expected
    assert [file.name for file in (tmp_path / "out").iterdir()] == ["lines.jsonl"]
    assert counts["lines_read"] == 3


def test_what_cannot_be_ordered_is_refused(tmp_path: Path, files: list[Path]) -> None:
    path = str(files[0])
    with pytest.raises(StageError, match=r"absent.jsonl"):
        ordered(tmp_path / "a", str(tmp_path / "absent.jsonl"))
    with pytest.raises(StageError, match="unknown method 'fold': use sorting, folding, shuffle"):
        ordered(tmp_path / "b", path, method="fold")
    with pytest.raises(StageError, match="the fraction must lie in"):
        ordered(tmp_path / "c", path, fraction=1.5)
    with pytest.raises(StageError, match="is none"):
        ordered(tmp_path / "d", path, fraction=0.001)
    with pytest.raises(StageError, match="at least one, not 0"):
        ordered(tmp_path / "e", path, num_folds=0)
    (tmp_path / "x.jsonl.gz").write_bytes(b"")
    with pytest.raises(StageError, match=r"x\.jsonl\.gz, line 1: the file is damaged"):
        ordered(tmp_path / "f", str(tmp_path / "x.jsonl.gz"))
    (tmp_path / "y.jsonl").write_bytes(gzip.compress(b'{"score": 1}'))
    with pytest.raises(StageError, match=r"its content is gzip, .* rename it to y\.jsonl\.gz"):
        ordered(tmp_path / "h", str(tmp_path / "y.jsonl"))
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(StageError, match="no line in"):
        ordered(tmp_path / "g", str(tmp_path / "empty.jsonl"))
