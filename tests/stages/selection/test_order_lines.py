"""Scored JSON lines: the best of them, in order, byte for byte; lines that are none, and files that are cut short."""

import json
import math
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from qurating.corpus import scored_lines
from qurating.runtime.errors import StageError
from qurating.stages.selection.order_lines import order_lines


def ordered(output: Path, paths: Any, **changes: Any) -> dict[str, Any]:
    output.mkdir()
    settings: dict[str, Any] = {
        "files": "",
        "score_field": "score",
        "fraction": 1.0,
        "inverse": False,
        "method": "folding",
        "num_folds": 3,
        "descending": False,
        "seed": 0,
    }
    return order_lines(output=output, paths=paths, **(settings | changes))


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    """Two files of lines that no writer of JSON would write so: order of keys, spaces, line ends, escapes."""
    lines = []
    for number in range(101):
        score = random.choice([-1.5, 0, 2, random.gauss(0, 1)])
        text = random.choice(["", "a\\nb", "\\u00e9é", "x" * 5000]) + str(number)
        fields = [f'"text" : "{text}"', f'"score":{score!r}', '"n":{"score": 5}']
        random.shuffle(fields)
        lines.append(("{" + random.choice([",", ", "]).join(fields) + "}" + random.choice(["", " ", "\r"])).encode())
    first, second = tmp_path / "a.jsonl", tmp_path / "b.jsonl"
    first.write_bytes(b"\n".join(lines[:40]) + b"\n\n  \n")
    second.write_bytes(b"\n".join(lines[40:]))  # the last line is not ended
    return [first, second]


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


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"score": 1', "line 3: no JSON"),
        ('{"score": NaN}', r"line 3: no JSON \(JSON has no NaN\)"),
        ('{"score": -Infinity}', r"line 3: no JSON \(JSON has no -Infinity\)"),
        ("[1, 2]", "line 3: there is no field score; there are none"),
        ('{"text": "", "lqs": 1}', "line 3: there is no field score; there are text, lqs"),
        ('{"score": "1.0"}', 'line 3: score is no number: "1.0"'),
        ('{"score": null}', "line 3: score is no number: null"),
        ('{"score": true}', "line 3: score is no number: true"),
    ],
)
def test_a_line_without_a_score_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "x.jsonl").write_text(f'{{"score": 1}}\n\n{line}\n{{"score": 2}}\n')
    with pytest.raises(StageError, match=r"x\.jsonl, " + message):
        ordered(tmp_path / "out", str(tmp_path / "x.jsonl"))


def test_what_cannot_be_ordered_is_refused(tmp_path: Path, files: list[Path]) -> None:
    path = str(files[0])
    with pytest.raises(StageError, match=r"absent.jsonl"):
        ordered(tmp_path / "a", str(tmp_path / "absent.jsonl"))
    with pytest.raises(StageError, match="no method 'fold'; there are sorting, folding, shuffle"):
        ordered(tmp_path / "b", path, method="fold")
    with pytest.raises(StageError, match="the fraction must lie in"):
        ordered(tmp_path / "c", path, fraction=1.5)
    with pytest.raises(StageError, match="is none"):
        ordered(tmp_path / "d", path, fraction=0.001)
    with pytest.raises(StageError, match="at least one, not 0"):
        ordered(tmp_path / "e", path, num_folds=0)
    (tmp_path / "x.jsonl.gz").write_bytes(b"")
    with pytest.raises(StageError, match=r"x\.jsonl\.gz is compressed"):
        ordered(tmp_path / "f", str(tmp_path / "x.jsonl.gz"))
    (tmp_path / "empty.jsonl").write_text("\n")
    with pytest.raises(StageError, match=r"there is no line in"):
        ordered(tmp_path / "g", str(tmp_path / "empty.jsonl"))


def test_a_file_that_is_cut_short_meanwhile_leaves_no_half_result(files: list[Path], tmp_path: Path) -> None:
    lines = scored_lines.read_lines(files, "score")
    files[1].write_bytes(files[1].read_bytes()[:-3])
    with pytest.raises(StageError, match=r"b\.jsonl was cut short"):
        scored_lines.write_lines(lines, np.arange(len(lines.scores)), tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
