"""Ids of sequences, and the check that no two documents share an id."""

import hashlib

import numpy as np
import numpy.typing as npt

from qurating.artifacts.seeds import seed_for
from qurating.runtime.errors import StageError


def sequence_id(document_id: str, position: int) -> int:
    """The id of a sequence: eight bytes of the BLAKE2b hash of its document id and position, as a signed integer."""
    digest = hashlib.blake2b(f"{document_id}\x00{position}".encode()).digest()
    return int.from_bytes(digest[:8], "little", signed=True)


class SeenIds:
    """The ids so far, eight bytes each, in sorted runs; each run is at least twice as long as the next."""

    def __init__(self) -> None:
        self.runs: list[npt.NDArray[np.uint64]] = []

    def add(self, ids: list[str]) -> None:
        """Add ids; raises StageError if one occurs twice."""
        hashes = np.array([seed_for(0, "document id", name) for name in ids], dtype=np.uint64)
        for run in self.runs:
            places = np.searchsorted(run, hashes)
            places[places == len(run)] = 0
            self._refuse(ids, run[places] == hashes)
        new, first = np.unique(hashes, return_index=True)
        is_repeated = np.ones(len(hashes), dtype=bool)
        is_repeated[first] = False
        self._refuse(ids, is_repeated)
        while self.runs and len(self.runs[-1]) < 2 * len(new):
            new = np.sort(np.concatenate([self.runs.pop(), new]))
        if len(new):
            self.runs.append(new)

    @staticmethod
    def _refuse(ids: list[str], is_repeated: npt.NDArray[np.bool_]) -> None:
        if is_repeated.any():
            name = ids[int(is_repeated.argmax())]
            raise StageError(
                f"two documents have the id {name!r}, and ids must be unique: remove the second, set another "
                "corpus.id_field, or set corpus.id_field=null to number documents by file and line"
            )
