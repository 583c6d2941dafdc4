"""JSON lines with a score: an index of the lines, and copying them in another order, byte for byte.

The lines are not held in memory, only their positions and scores: 28 bytes per line.
"""

import contextlib
import json
import math
import os
import shutil
from array import array
from collections.abc import Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import orjson
from tqdm import tqdm

from qurating.artifacts.files import replacing
from qurating.corpus.lines import is_compressed, lines_of
from qurating.corpus.records import BLANK, BYTE_ORDER_MARK, BadRowError, lookup, parsed
from qurating.runtime.errors import StageError

_LINES_AT_ONCE = 4096


class ScoredLines(NamedTuple):
    """An index of N lines of some files, in order; `starts` and `ends` are byte offsets within the file of the line."""

    files: list[Path]
    file_numbers: npt.NDArray[np.int32]  # indices into `files`
    starts: npt.NDArray[np.int64]
    ends: npt.NDArray[np.int64]  # without the line end
    scores: npt.NDArray[np.float64]


@contextlib.contextmanager
def unpacked(files: Sequence[Path], folder: Path) -> Iterator[dict[Path, Path]]:
    """Plain files whose lines can be read at any offset, each with its file: compressed ones are unpacked for a while.

    Args:
        files: JSON lines, compressed or not.
        folder: for the unpacked files; is deleted at the end.

    Raises:
        StageError: a file that is damaged, or whose content is not what its name says.
    """
    shutil.rmtree(folder, ignore_errors=True)  # of a killed run
    plain: dict[Path, Path] = {}
    try:
        for number, file in enumerate(files):
            if not is_compressed(file):
                plain[file] = file
                continue
            folder.mkdir(parents=True, exist_ok=True)
            plain[folder / f"{number:05d}"] = file
            with open(folder / f"{number:05d}", "wb", buffering=2**20) as stream:
                lines = tqdm(lines_of(file), desc=f"unpack {file.name}", unit="line", unit_scale=True, mininterval=0.5)
                stream.writelines(line + b"\n" for line in lines)
        yield plain
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def index_lines(files: Mapping[Path, Path], score_field: str) -> ScoredLines:
    """Index the lines of JSON-lines files, and their scores. Byte order marks and blank lines are left out.

    Args:
        files: plain files in the order of their lines, each with the file that messages name, see `unpacked`.
        score_field: dotted if nested, see `records.lookup`.

    Raises:
        StageError: a line that is not a JSON object or has no finite number in this field (says which); no lines.
    """
    file_numbers, starts, ends, scores = array("i"), array("q"), array("q"), array("d")
    total = sum(path.stat().st_size for path in files)
    with tqdm(total=total, desc="reading scores", unit="B", unit_scale=True, mininterval=0.5) as progress:
        for number, (path, source) in enumerate(files.items()):
            position, count = 0, 0
            with open(path, "rb", buffering=2**20) as stream:
                if stream.read(len(BYTE_ORDER_MARK)) == BYTE_ORDER_MARK:
                    position = len(BYTE_ORDER_MARK)
                stream.seek(position)
                while lines := list(islice(stream, _LINES_AT_ONCE)):
                    sizes = np.fromiter(map(len, lines), np.int64, len(lines))
                    first = position + np.cumsum(sizes) - sizes
                    last = first + sizes - 1  # each ends in a line feed, except perhaps the last line of a file
                    last[-1] += not lines[-1].endswith(b"\n")
                    found = _parse_scores(lines, score_field)
                    if found is None:
                        each = [_parse_score(line, count + i, score_field, source) for i, line in enumerate(lines, 1)]
                        kept = [place for place, score in enumerate(each) if score is not None]
                        found = [score for score in each if score is not None]
                        first, last = first[kept], last[kept]
                    scores.extend(found)
                    file_numbers.extend([number] * len(found))
                    starts.frombytes(first.tobytes())
                    ends.frombytes(last.tobytes())
                    position += int(sizes.sum())
                    count += len(lines)
                    progress.update(int(sizes.sum()))
    if not scores:
        raise StageError(f"no line in {', '.join(map(str, files.values())) or 'no file'}")
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


def _parse_scores(lines: Sequence[bytes], field: str) -> list[float] | None:
    """The scores of lines; None if one of them is blank or has no score: `_parse_score` says which."""
    try:
        # only the needed part of each line is held, so that it stays in the cache of the processor
        if "." in field:
            values: list[Any] = [lookup(orjson.loads(line), field) for line in lines]
        else:
            values = [orjson.loads(line)[field] for line in lines]
    except (ValueError, TypeError, KeyError):
        return None
    return values if set(map(type, values)) <= {int, float} else None


def _parse_score(line: bytes, number: int, field: str, source: Path) -> float | None:
    """The score of line `number` of a file, None for a blank line, by the rules of all readers of JSON lines."""
    try:
        row = parsed(line.rstrip(b"\n"), number)
        if row is BLANK:
            return None
        score = lookup(row, field)
        if isinstance(score, bool) or not isinstance(score, int | float):
            raise BadRowError(f"{field} is not a number: {json.dumps(score)[:80]}")
        if not math.isfinite(score):
            raise BadRowError(f"{field} is {score}, not a finite number")
        return float(score)
    except (BadRowError, OverflowError) as error:
        way_out = "Fix the line"
        if str(error).startswith("no field"):
            way_out = "Set the field of the score: stages.order_lines.score_field"
        raise StageError(f"{source}, line {number}: {error}\n  {way_out}") from None
