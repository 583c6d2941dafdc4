"""Rows to select from, in chunks."""

from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from qurating.corpus.hashing import Ids, as_ids
from qurating.selection.noise import Floats

Codes = npt.NDArray[np.int32]

Counts = npt.NDArray[np.integer]


class Chunk(NamedTuple):
    """Some rows, one after another: each array (n,); `domains` are indices into `Rows.domain_names`."""

    ids: Ids
    lengths: Counts
    domains: Codes
    scores: Mapping[str, Floats]

    def part(self, which: Any) -> "Chunk":
        """The rows of a slice, a mask or indices."""
        scores = {name: values[which] for name, values in self.scores.items()}
        return Chunk(self.ids[which], self.lengths[which], self.domains[which], scores)


class Rows(Protocol):
    """Sequences to select from. After a whole pass, `domain_names` must contain the names of all domains."""

    criteria: list[str]
    domain_names: list[str]

    def __len__(self) -> int: ...

    def chunks(self) -> Iterator[Chunk]:
        """All rows, in the same chunks at every call."""


class Arrays:
    """Rows in memory.

    Args:
        scores: (N,) of one criterion, called `score`; or of several, by name; or None.
        lengths: (N,) tokens of each.
        domains: (N,) labels; None: one domain.
        ids: (N,) integers or strings that decide ties and noise; None: the position.
        chunk_size: rows per chunk.

    Raises:
        ValueError: arrays of different lengths, or without a row.
    """

    def __init__(
        self,
        scores: npt.ArrayLike | Mapping[str, npt.ArrayLike] | None,
        lengths: npt.ArrayLike,
        *,
        domains: npt.ArrayLike | None = None,
        ids: npt.ArrayLike | None = None,
        chunk_size: int = 2**16,
    ) -> None:
        named = scores if isinstance(scores, Mapping) else {} if scores is None else {"score": scores}
        columns = {name: np.asarray(values, dtype=np.float64) for name, values in named.items()}
        number = np.asarray(lengths, dtype=np.int64)
        count = len(number)
        names: npt.NDArray[Any] = np.array(["all"])
        codes = np.zeros(count, np.int64)
        if domains is not None:
            names, codes = np.unique(np.asarray(domains), return_inverse=True)
        numbers = np.arange(count, dtype=np.uint64) if ids is None else as_ids(ids)
        self._all = Chunk(numbers, number, codes.astype(np.int32), columns)
        for name, column in {**columns, "lengths": number, "domains": codes, "ids": numbers}.items():
            if column.shape != (count,):
                raise ValueError(f"{len(column)} {name} for {count} lengths")
        if not count:
            raise ValueError("there is no sequence to select from")
        self.criteria = list(columns)
        self.domain_names = [str(name) for name in names]
        self._chunk_size = chunk_size

    def __len__(self) -> int:
        return len(self._all.ids)

    def chunks(self) -> Iterator[Chunk]:
        for start in range(0, len(self._all.ids), self._chunk_size):
            yield self._all.part(slice(start, start + self._chunk_size))
