"""JSON lines with a score: an index of the lines, and copying them in another order, byte for byte.

The lines are not held in memory, only their positions and scores: 28 bytes per line.
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


class ScoredLines(NamedTuple):
    """An index of N lines of some files, in order; `starts` and `ends` are byte offsets within the file of the line."""

    files: list[Path]
    file_numbers: npt.NDArray[np.int32]  # indices into `files`
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]  # without the line end
    scores: npt.NDArray[np.float64]


def index_lines(files: Sequence[Path], score_field: str) -> ScoredLines:
    """Index the lines of uncompressed JSON-lines files, and their scores. Empty lines are skipped.

    Args:
        files: in the order of their lines.
        score_field: dotted if nested.

    Raises:
        StageError: a line that is not a JSON object or has no finite number in this field (says which); no lines.
    """
    file_numbers, starts, ends, scores = array("i"), array("q"), array("q"), array("d")
    keys = score_field.split(".")
    total = sum(path.stat().st_size for path in files)
    with tqdm(total=total, desc="reading scores", unit="B", unit_scale=True, mininterval=0.5) as progress:
        for number, path in enumerate(files):
            position, count = 0, 0
            with open(path, "rb", buffering=2**20) as stream:
                while lines := list(islice(stream, _LINES_AT_ONCE)):
                    sizes = np.fromiter(map(len, lines), np.int64, len(lines))
                    first = position + np.cumsum(sizes) - sizes
                    last = first + sizes - 1  # each ends in a line feed, except perhaps the last line of a file
                    last[-1] += not lines[-1].endswith(b"\n")
                    found = _parse_scores(lines, keys)
                    if found is None:
                        kept = [place for place, line in enumerate(lines) if not line.isspace()]
                        found = [_parse_score(lines[place], keys, path, count + place + 1) for place in kept]
                        first, last = first[kept], last[kept]
                    scores.extend(found)
                    file_numbers.extend([number] * len(found))
                    starts.frombytes(first.tobytes())
                    ends.frombytes(last.tobytes())
                    position += int(sizes.sum())
                    count += len(lines)
                    progress.update(int(sizes.sum()))
    if not scores:
        raise StageError(f"no line in {', '.join(map(str, files)) or 'no file'}")
    columns = (np.frombuffer(column, dtype=column.typecode) for column in (file_numbers, starts, ends, scores))
    return ScoredLines(list(files), *columns)


def copy_lines(lines: ScoredLines, order: npt.NDArray[np.int64], target: Path) -> int:
    """Copy the lines in `order` to a file, each ended by a line feed; returns the number of bytes.

    The file is written as a whole or not at all. Raises StageError if a file is shorter than when it was indexed.
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
                places = zip(*_locations(lines, part), strict=True)
                copied = [os.pread(opened[number], end - start, start) for number, start, end in places]
                sizes = np.fromiter(map(len, copied), np.int64, len(copied))
                if len(short := np.flatnonzero(sizes != lines.ends[part] - lines.starts[part])):
                    raise StageError(
                        f"{lines.files[lines.file_numbers[part[short[0]]]]} was cut short while it was copied"
                    )
                copied.append(b"")
                stream.write(b"\n".join(copied))
                written += int(sizes.sum()) + len(part)
                progress.update(len(part))
    finally:
        for handle in opened:
            os.close(handle)
    return written


def _locations(lines: ScoredLines, part: npt.NDArray[np.int64]) -> Iterator[list[int]]:
    """File numbers, starts and ends of some lines."""
    return (column[part].tolist() for column in (lines.file_numbers, lines.starts, lines.ends))


def _parse_scores(lines: Sequence[bytes], keys: Sequence[str]) -> list[float] | None:
    """The scores of lines; None if one of them is empty or has no score: `_parse_score` says which."""
    first, *others = keys
    try:
        # only the needed part of each line is held, so that it stays in the cache of the processor
        values: list[Any] = [orjson.loads(line)[first] for line in lines]
        for key in others:
            values = [value[key] for value in values]
    except (ValueError, TypeError, KeyError):
        return None
    return values if set(map(type, values)) <= {int, float} else None


def _parse_score(line: bytes, keys: Sequence[str], path: Path, number: int) -> float:
    try:
        value: Any = orjson.loads(line)
    except ValueError as error:
        numbers = re.search(rb"[:\[,]\s*(NaN|-?Infinity)\b", line)
        why = f"JSON has no {numbers[1].decode()}" if numbers else str(error)
        raise StageError(f"{path}, line {number}: not JSON ({why})") from None
    for key in keys:
        if not isinstance(value, dict) or key not in value:
            fields = ", ".join(value) if isinstance(value, dict) and value else "none"
            raise StageError(f"{path}, line {number}: no field {'.'.join(keys)}; its fields: {fields}")
        value = value[key]
    if isinstance(value, bool) or not isinstance(value, int | float):  # JSON has no NaN, and orjson takes none
        raise StageError(
            f"{path}, line {number}: {'.'.join(keys)} is not a number: {orjson.dumps(value).decode()[:80]}"
        )
    return float(value)
