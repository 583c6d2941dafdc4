"""Ratings of others, matched with the sequences of a corpus by id, without holding them all in memory.

In memory are the sorted ids and their places, 17 bytes for each row of ratings (24 while they are sorted). The ratings
lie in scratch files, which are mapped into memory and read where they are needed.
"""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from qurating.corpus.hashing import Ids
from qurating.rating.tables import Layout, Windows, place_of, rows_of
from qurating.runtime.errors import StageError


class Found(NamedTuple):
    """The ratings of n sequences: whether there are any (n,), the averages (n, C; NaN where none), and the windows.

    `windows` are those of the rows found, none for the others; None if the tables have no windows.
    """

    is_there: npt.NDArray[np.bool_]
    averages: npt.NDArray[np.float64]
    windows: Windows | None


class Matcher:
    """The ratings of some files, to be found by id.

    Args:
        files: with their names, see `corpus.files.named_files`.
        layout: of all of them.
        scratch: a folder for the ratings; `close` deletes it.

    Attributes:
        num_rows: of all files, and `num_repeated` of these that repeat the id and the ratings of an earlier one.
        first: the id of the first row, as text.

    Raises:
        StageError: no rows; a row that cannot be used; two rows with one id and different ratings (names both).
    """

    def __init__(self, files: Sequence[tuple[Path, str]], layout: Layout, scratch: Path) -> None:
        self._layout, self._scratch = layout, scratch
        self._files = [path for path, _ in files]
        shutil.rmtree(scratch, ignore_errors=True)  # of a killed run
        scratch.mkdir(parents=True)
        self.first = ""
        keys, sizes = [], []
        names = ("values", "counts", "lengths", "window_values")
        streams = {name: open(scratch / name, "wb") for name in names}  # noqa: SIM115
        try:
            with tqdm(desc="reading ratings", unit="row", unit_scale=True, mininterval=0.5) as progress:
                for path, name in files:
                    size = 0
                    for part in rows_of(path, name, layout):
                        self.first = self.first or part.first
                        keys.append(part.keys)
                        part.values.tofile(streams["values"])
                        if part.windows is not None:
                            part.windows.counts.tofile(streams["counts"])
                            part.windows.lengths.tofile(streams["lengths"])
                            part.windows.values.tofile(streams["window_values"])
                        size += len(part.keys)
                        progress.update(len(part.keys))
                    sizes.append(size)
        finally:
            for stream in streams.values():
                stream.close()
        self._ends = np.cumsum(sizes)
        self.num_rows = int(self._ends[-1]) if sizes else 0
        if not self.num_rows:
            raise StageError(f"no rating in {', '.join(map(str, self._files))}")
        self._values = self._mapped("values", np.float64, len(layout.columns))
        self._starts: npt.NDArray[np.int64] | None = None
        if layout.has_windows:
            counts = np.fromfile(scratch / "counts", np.int64)
            self._starts = np.cumsum(counts) - counts
            self._counts = counts
            self._lengths = self._mapped("lengths", np.int32, 1)[:, 0]
            self._window_values = self._mapped("window_values", np.float64, len(layout.columns))
        self._sort(keys)

    def _sort(self, keys: list[Ids]) -> None:
        every = np.concatenate(keys)
        keys.clear()
        self._order = np.argsort(every, kind="stable")
        self._keys = every[self._order]
        del every
        again = np.flatnonzero(self._keys[1:] == self._keys[:-1]) + 1
        self.num_repeated = len(again)
        for part in np.array_split(again, 1 + len(again) // 2**16):
            here, before = self._values[self._order[part]], self._values[self._order[part - 1]]
            if len(wrong := np.flatnonzero((here != before).any(axis=1))):
                one, other = (self._order[part[wrong[0]] - back] for back in (1, 0))
                raise StageError(
                    f"one id has different ratings at {self._place(one)}, and at {self._place(other)}: "
                    f"{self._values[one].tolist()} and {self._values[other].tolist()}. Take out one of the rows"
                )
        if len(again):
            self._keys, self._order = np.delete(self._keys, again), np.delete(self._order, again)
        self._used = np.zeros(len(self._keys), bool)

    def find(self, keys: Ids) -> Found:
        """The ratings of sequences by the keys (n,) of their ids."""
        found, is_there = self._look_up(keys)
        self._used[found[is_there]] = True
        rows = self._order[found[is_there]]
        averages = np.full((len(keys), len(self._layout.columns)), np.nan)
        averages[is_there] = self._values[rows]
        if self._starts is None:
            return Found(is_there, averages, None)
        counts = np.zeros(len(keys), np.int64)
        counts[is_there] = self._counts[rows]
        own = self._counts[rows]
        places = np.repeat(self._starts[rows] - (np.cumsum(own) - own), own) + np.arange(own.sum())
        return Found(is_there, averages, Windows(counts, self._lengths[places], self._window_values[places]))

    def use(self, keys: Ids) -> int:
        """Count the rows with these keys, such as those of held-out documents, as used; returns their number."""
        found, is_there = self._look_up(keys)
        new = np.unique(found[is_there])
        number = int(np.count_nonzero(~self._used[new]))
        self._used[new] = True
        return number

    def surplus(self) -> tuple[int, str]:
        """The number of different ids that were not asked for, and the place of the first of them."""
        left = self._order[~self._used]
        return len(left), self._place(left.min()) if len(left) else ""

    def close(self) -> None:
        shutil.rmtree(self._scratch, ignore_errors=True)

    def _look_up(self, keys: Ids) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.bool_]]:
        found = np.searchsorted(self._keys, keys)
        found[found == len(self._keys)] = 0
        return found, self._keys[found] == keys

    def _mapped(self, name: str, kind: Any, width: int) -> npt.NDArray[Any]:
        file = self._scratch / name
        if not file.stat().st_size:
            return np.empty((0, width), kind)
        return np.memmap(file, kind, "r").reshape(-1, width)

    def _place(self, row: int) -> str:
        file = int(np.searchsorted(self._ends, row, side="right"))
        return place_of(self._files[file], int(row - (self._ends[file - 1] if file else 0)))
