"""Replies in the response logs of a folder, by the key of their request, whatever they were asked for.

Each run of a judge writes a log of its own, so that processes on several machines need no lock that a network's file
system would have to keep. A database of the standard library needs one.
"""

import array
import contextlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

import numpy as np
from numpy.typing import NDArray

from qurating.artifacts.files import replacing
from qurating.judging.endpoint.response_log import decoded, is_intact, key_of_reply

WORTH_AN_INDEX = 1 << 24  # bytes that are read again at every start, rather than indexed in a file

Index = NDArray[np.uint64]  # a row per reply: the first 64 bits of its key, and its place in the file


class EarlierReplies:
    """The replies in all logs of a folder, as they are when it is opened; of several to one request the last.

    In memory: 20 bytes per reply. A log's replies are indexed in a file next to it, `<log>.index.npy`, from which the
    next start goes on; it can be deleted. Lines that are incomplete or were changed are left out, and counted in
    `num_dropped`.
    """

    def __init__(self, folder: Path, without: Path | None = None) -> None:
        """`without`: a log that is left out; the one that this process writes."""
        left_out = None if without is None else without.resolve()
        # names begin with the time
        files = [file for file in sorted(folder.glob("*.jsonl")) if file.resolve() != left_out]
        self._files: list[Path] = []
        self._open: tuple[int, IO[bytes]] | None = None
        self.num_dropped = 0
        indices: list[Index] = []
        for file in files:
            with contextlib.suppress(FileNotFoundError):  # an empty one, removed by the process that finished with it
                index, num_dropped = _index(file)
                indices.append(index)
                self._files.append(file)
                self.num_dropped += num_dropped
        rows = np.concatenate([np.empty((0, 2), np.uint64), *indices])
        order = np.argsort(rows[:, 0], kind="stable")
        self._keys, self._places = rows[order, 0], rows[order, 1]
        self._numbers = np.repeat(np.arange(len(indices), dtype=np.uint32), [len(index) for index in indices])[order]

    def __len__(self) -> int:
        return len(self._keys)

    def __call__(self, key: str, endpoint: str) -> dict[str, Any] | None:
        """The line with this key of a request and this hash of an endpoint; None if there is none."""
        for number, place in self._at(np.uint64(int(key[:16], 16))):
            line = b""
            with contextlib.suppress(FileNotFoundError):  # deleted since
                lines = self._lines(number)
                lines.seek(place)
                line = lines.readline()
            if key_of_reply(line) == (key, endpoint) and is_intact(line):
                return decoded(line)
        return None

    def close(self) -> None:
        if self._open is not None:
            self._open[1].close()
            self._open = None

    def _at(self, beginning: np.uint64) -> Iterator[tuple[int, int]]:
        """Number of the log and place of the replies whose keys begin like this, last one first."""
        row = int(np.searchsorted(self._keys, beginning, side="right")) - 1
        while row >= 0 and self._keys[row] == beginning:
            yield int(self._numbers[row]), int(self._places[row])
            row -= 1

    def _lines(self, number: int) -> IO[bytes]:
        """One log at a time is open: neighbouring requests are mostly in the same one."""
        if self._open is None or self._open[0] != number:
            self.close()
            self._open = number, open(self._files[number], "rb")  # noqa: SIM115 (closed by `close`)
        return self._open[1]


def _index(file: Path) -> tuple[Index, int]:
    """The index of a log, and the number of lines that are left out; kept in a file if reading the log takes long."""
    kept = file.with_name(f"{file.name}.index.npy")
    # the first row: bytes that are indexed, and lines among them that are left out
    before: Index = np.zeros((1, 2), np.uint64)
    with contextlib.suppress(OSError, ValueError, EOFError):
        found = np.load(kept)
        if found.dtype == np.uint64 and found.ndim == 2 and found.shape[1] == 2 and len(found):
            before = found
    if before[0, 0] > file.stat().st_size:  # another file took its place
        before = np.zeros((1, 2), np.uint64)
    start, num_dropped = int(before[0, 0]), int(before[0, 1])
    numbers, place, is_cut = array.array("Q"), start, False
    with open(file, "rb") as lines:
        lines.seek(start)
        for line in lines:
            if not line.endswith(b"\n"):  # cut short, or being written: looked at again by the next start
                is_cut = True
                break
            if not is_intact(line):
                num_dropped += bool(line.strip())
            elif (key := key_of_reply(line)) is not None:
                numbers.extend((int(key[0][:16], 16), place))
            place += len(line)
    index = np.concatenate([before, np.array(numbers, np.uint64).reshape(-1, 2)])
    index[0] = place, num_dropped
    if place - start >= WORTH_AN_INDEX:
        with contextlib.suppress(OSError), replacing(kept) as temporary, open(temporary, "wb") as stream:
            np.save(stream, index)
    return index[1:], num_dropped + is_cut
