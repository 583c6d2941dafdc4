"""JSON lines that carry a score: where each lies, what it scores, and writing them in another order, byte for byte.

Lines are not held: of each, where it lies and its score, 28 bytes.
"""

import os
import re
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
from tqdm import tqdm

from qurating.artifacts.files import replacing
from qurating.runtime.errors import StageError

_LINES_AT_ONCE = 4096


class Lines(NamedTuple):
    """N lines of some files, as they follow one another; `starts` and `ends` are bytes within the line's file."""

    files: list[Path]
    file: npt.NDArray[np.int32]
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]  # the line's end is not counted
    scores: npt.NDArray[np.float64]


def read_lines(files: Sequence[Path], score_field: str) -> Lines:
    """Find the lines of JSON-lines files, plain text, and their scores. Empty lines are passed over.

    Args:
        files: in the order in which their lines count.
        score_field: dotted, if it lies within another.

    Raises:
        StageError: a line that is no JSON object or has no finite number there, with the file and the line; no line.
    """
    file, starts, ends, scores = array("i"), array("q"), array("q"), array("d")
    keys = score_field.split(".")
    total = sum(path.stat().st_size for path in files)
    with tqdm(total=total, desc="reading scores", unit="B", unit_scale=True, mininterval=0.5) as progress:
        for number, path in enumerate(files):
            position, count = 0, 0
            with open(path, "rb", buffering=2**20) as stream:
                while lines := list(islice(stream, _LINES_AT_ONCE)):
                    sizes = np.fromiter(map(len, lines), np.int64, len(lines))
                    first = position + np.cumsum(sizes) - sizes
                    last = first + sizes - 1  # each ends in a line feed, but for a file's last line
                    last[-1] += not lines[-1].endswith(b"\n")
                    found = _scores(lines, keys)
                    if found is None:
                        kept = [place for place, line in enumerate(lines) if not line.isspace()]
                        found = [_score(lines[place], keys, path, count + place + 1) for place in kept]
                        first, last = first[kept], last[kept]
                    scores.extend(found)
                    file.extend([number] * len(found))
                    starts.frombytes(first.tobytes())
                    ends.frombytes(last.tobytes())
                    position += int(sizes.sum())
                    count += len(lines)
                    progress.update(int(sizes.sum()))
    if not scores:
        raise StageError(f"there is no line in {', '.join(map(str, files)) or 'no file'}")
    columns = (np.frombuffer(column, dtype=column.typecode) for column in (file, starts, ends, scores))
    return Lines(list(files), *columns)


def write_lines(lines: Lines, order: npt.NDArray[np.int64], target: Path) -> int:
    """Write the lines that `order` names, one after another, each ended by a line feed; returns how many bytes.

    The file is there whole or not at all. Raises StageError if a file is shorter than it was when it was read.
    """
    written = 0
    opened = [os.open(path, os.O_RDONLY) for path in lines.files]
    bar = {"desc": "writing lines", "unit": "line", "unit_scale": True, "mininterval": 0.5}
    try:
        with (
            replacing(target) as temporary,
            open(temporary, "wb", buffering=2**20) as stream,
            tqdm(total=len(order), **bar) as progress,
        ):
            for first in range(0, len(order), _LINES_AT_ONCE):
                part = order[first : first + _LINES_AT_ONCE]
                places = zip(*_of(lines, part), strict=True)
                copied = [os.pread(opened[number], end - start, start) for number, start, end in places]
                sizes = np.fromiter(map(len, copied), np.int64, len(copied))
                if len(short := np.flatnonzero(sizes != lines.ends[part] - lines.starts[part])):
                    raise StageError(f"{lines.files[lines.file[part[short[0]]]]} was cut short while it was copied")
                copied.append(b"")
                stream.write(b"\n".join(copied))
                written += int(sizes.sum()) + len(part)
                progress.update(len(part))
    finally:
        for handle in opened:
            os.close(handle)
    return written


def _of(lines: Lines, part: npt.NDArray[np.int64]) -> Iterator[list[int]]:
    return (column[part].tolist() for column in (lines.file, lines.starts, lines.ends))


def _scores(lines: Sequence[bytes], keys: Sequence[str]) -> list[float] | None:
    """The scores of lines; None if one of them is empty or has none, which `_score` then tells."""
    first, *others = keys
    try:
        # of each line no more is held than is wanted, so that it stays in the processor's cache
        values: list[Any] = [orjson.loads(line)[first] for line in lines]
        for key in others:
            values = [value[key] for value in values]
    except (ValueError, TypeError, KeyError):
        return None
    return values if set(map(type, values)) <= {int, float} else None


def _score(line: bytes, keys: Sequence[str], path: Path, number: int) -> float:
    try:
        value: Any = orjson.loads(line)
    except ValueError as error:
        numbers = re.search(rb"[:\[,]\s*(NaN|-?Infinity)\b", line)
        why = f"JSON has no {numbers[1].decode()}" if numbers else str(error)
        raise StageError(f"{path}, line {number}: no JSON ({why})") from None
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            there = ", ".join(value) if isinstance(value, dict) else "none"
            raise StageError(f"{path}, line {number}: there is no field {'.'.join(keys)}; there are {there}")
        value = value[key]
    if isinstance(value, bool) or not isinstance(value, int | float):  # JSON has no NaN, and orjson takes none
        raise StageError(f"{path}, line {number}: {'.'.join(keys)} is no number: {orjson.dumps(value).decode()[:80]}")
    return float(value)
