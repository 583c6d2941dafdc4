"""A subset compared with its corpus and with other subsets: overlaps, deciles, and sequences that only one has."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from qurating.corpus.sequences import another_corpus

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]


class Members(NamedTuple):
    """The sequences of a subset: their positions in the corpus, ascending, and their lengths in tokens, (n,) each."""

    positions: Counts
    lengths: Counts

    def num_tokens(self) -> int:
        return int(self.lengths.sum())

    def among(self, start: int, size: int) -> Mask:
        """Which of the `size` sequences from `start` on are members, (size,)."""
        first, last = np.searchsorted(self.positions, (start, start + size))
        mask = np.zeros(size, bool)
        mask[self.positions[first:last] - start] = True
        return mask

    def without(self, others: "Members") -> "Members":
        """Those that are not members of `others`."""
        kept = ~np.isin(self.positions, others.positions, assume_unique=True)
        return Members(self.positions[kept], self.lengths[kept])


def read_members(subset: Path, corpus: Path, file_sizes: Sequence[int]) -> Members:
    """The members of a subset of a corpus whose shards have these numbers of rows.

    Raises StageError if it names a sequence that the corpus does not have.
    """
    table = pq.read_table(subset / "subset.parquet", columns=["shard", "row", "length"])
    shard, row = (table[name].to_numpy().astype(np.int64) for name in ("shard", "row"))
    sizes = np.array(file_sizes, np.int64)
    if len(shard) and (shard.max() >= len(sizes) or (row >= sizes[np.minimum(shard, len(sizes) - 1)]).any()):
        raise another_corpus(f"{subset} was selected from", corpus, "it names sequences that this one does not have")
    positions = (np.cumsum(sizes) - sizes)[shard] + row
    return Members(positions, table["length"].to_numpy().astype(np.int64))


def jaccard(a: Members, b: Members) -> float:
    """Tokens of the sequences that both subsets have, over tokens of those that either has."""
    shared = a.num_tokens() - a.without(b).num_tokens()
    either = a.num_tokens() + b.num_tokens() - shared
    return shared / either if either else 0.0


class Deciles:
    """The corpus in deciles of a score, and how much of each decile a subset took.

    Args:
        edges: (9,) scores between the deciles, ascending.
    """

    def __init__(self, edges: Floats) -> None:
        self.edges = edges
        size = len(edges) + 1
        self.tokens, self.taken_tokens = np.zeros(size, np.int64), np.zeros(size, np.int64)
        self._sums: dict[str, list[float]] = {"corpus": [0, 0.0], "subset": [0, 0.0]}  # number, sum

    def add(self, scores: Floats, lengths: npt.NDArray[np.integer], mask: Mask) -> None:
        """Add some rows of the corpus, (n,) each; `mask`: which of them the subset has."""
        decile = np.searchsorted(self.edges, scores, side="right")
        size = len(self.tokens)
        self.tokens += np.bincount(decile, lengths, size).astype(np.int64)
        self.taken_tokens += np.bincount(decile[mask], lengths[mask], size).astype(np.int64)
        for name, values in (("corpus", scores), ("subset", scores[mask])):
            self._sums[name][0] += len(values)
            self._sums[name][1] += float(values.sum())

    def report(self) -> dict[str, Any]:
        """Numbers for a report; shares by tokens, the lowest decile first."""
        taken = self.taken_tokens / np.maximum(self.tokens, 1)
        return {
            "mean_of_corpus": _mean(self._sums["corpus"]),
            "mean_of_subset": _mean(self._sums["subset"]),
            "taken_of_each_tenth": taken.tolist(),
            "taken_of_top_tenth": float(taken[-1]),
            "top_tenth_of_subset": float(self.taken_tokens[-1] / max(1, self.taken_tokens.sum())),
        }


class Group:
    """Totals of a group of sequences, such as those that only one of two subsets has.

    Args:
        members: the sequences of the group.
        criteria: whose mean scores are reported.
    """

    def __init__(self, members: Members, criteria: Sequence[str]) -> None:
        self.members = members
        self._tokens: dict[str, int] = {}
        self._scores = dict.fromkeys(criteria, 0.0)

    def add(self, start: int, domains: Sequence[str], codes: npt.NDArray[np.int32], chunk: Any) -> None:
        """Add rows of the corpus from `start` on, a `rows.Chunk`, with the names of the domains by code."""
        mask = self.members.among(start, len(codes))
        tokens = np.bincount(codes[mask], chunk.lengths[mask], len(domains)).astype(np.int64)
        for place in np.flatnonzero(tokens).tolist():
            self._tokens[domains[place]] = self._tokens.get(domains[place], 0) + int(tokens[place])
        for name in self._scores:
            self._scores[name] += float(chunk.scores[name][mask].sum())

    def report(self) -> dict[str, Any]:
        """Numbers for a report."""
        count = len(self.members.positions)
        return {
            "sequences": count,
            "tokens": self.members.num_tokens(),
            "mean_length": self.members.num_tokens() / count if count else None,
            "domains": dict(sorted(self._tokens.items())),
            "mean_scores": {name: total / count if count else None for name, total in self._scores.items()},
        }


def _mean(number_and_sum: Sequence[float]) -> float | None:
    return number_and_sum[1] / number_and_sum[0] if number_and_sum[0] else None
