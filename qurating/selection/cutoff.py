"""The highest keys of each domain up to a budget, for more rows than fit in memory.

A sample of the rows gives, for each domain, a guess of two keys between which the budget is crossed. One pass takes all
rows above, and keeps and sorts the rows between. Exact sums check the guess; a wrong one is widened for another pass.

Four sequences of one domain in two chunks, and a budget of 50 tokens. From the highest key down, 0.9 brings 30 tokens
and 0.7 another 30, which crosses the budget: these two, the first and the third sequence, are taken.

>>> first = Keyed(np.array([0.9, 0.1]), np.array([4, 7], np.uint64), np.array([30, 20]), np.array([0, 0], np.int32))
>>> second = Keyed(np.array([0.7, 0.5]), np.array([9, 2], np.uint64), np.array([30, 25]), np.array([0, 0], np.int32))
>>> taken = take_top(lambda: iter([first, second]), budgets=np.array([50]))
>>> [taken[place].tolist() for place in range(len(taken))], taken.indices().tolist()
([[True, False], [True, False]], [0, 2])

With every second row as a sample, and 105 tokens in total, the result is the same:

>>> sample = Keyed(*(np.stack([one[0], two[0]]) for one, two in zip(first, second)))
>>> take_top(lambda: iter([first, second]), np.array([50]), sample, totals=np.array([105])).indices().tolist()
[0, 2]
"""

from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from qurating.corpus.hashing import Ids
from qurating.selection.noise import Floats

Codes = npt.NDArray[np.int32]
Counts = npt.NDArray[np.integer]
Mask = npt.NDArray[np.bool_]
_DEVIATIONS = 5.0  # of the sample, on both sides: one guess in a hundred thousand needs another pass


class Keyed(NamedTuple):
    """Some rows, one after another, all (n,): their ranking keys, and their weights, which count for the budget."""

    keys: Floats
    ids: Ids
    weights: Counts
    domains: Codes  # below 0: never taken

    def part(self, which: Counts | Mask) -> "Keyed":
        return Keyed(self.keys[which], self.ids[which], self.weights[which], self.domains[which])


Passes = Callable[[], Iterator[Keyed]]


class Selected:
    """The selected rows, one bit per row, in the chunks of the rows."""

    def __init__(self) -> None:
        self._packed: list[npt.NDArray[np.uint8]] = []
        self._sizes: list[int] = []

    def add(self, mask: Mask) -> None:
        """Add the mask of the next chunk."""
        self._packed.append(np.packbits(mask))
        self._sizes.append(len(mask))

    def set(self, positions: Counts) -> None:
        """Select more rows, by ascending positions over all chunks."""
        ends = np.cumsum(self._sizes)
        bounds = np.searchsorted(positions, ends).tolist()
        for place, (first, last) in enumerate(zip([0, *bounds[:-1]], bounds, strict=True)):
            if first < last:
                mask = self[place]
                mask[positions[first:last] - (ends[place] - self._sizes[place])] = True
                self._packed[place] = np.packbits(mask)

    def __len__(self) -> int:
        return len(self._sizes)

    def __getitem__(self, place: int) -> Mask:
        """The mask of a chunk, (n,)."""
        return np.unpackbits(self._packed[place], count=self._sizes[place]).view(np.bool_)

    def at(self, positions: Counts) -> Mask:
        """Whether the rows at these positions, ascending over all chunks, are selected."""
        ends = np.cumsum(self._sizes)
        bounds = np.searchsorted(positions, ends).tolist()
        starts = (ends - self._sizes).tolist()
        pairs = enumerate(zip([0, *bounds[:-1]], bounds, strict=True))
        return np.concatenate([self[place][positions[first:last] - starts[place]] for place, (first, last) in pairs])

    def __or__(self, other: "Selected") -> "Selected":
        union = Selected()
        union._sizes = self._sizes
        union._packed = [one | two for one, two in zip(self._packed, other._packed, strict=True)]
        return union

    def __invert__(self) -> "Selected":
        """The other rows."""
        others = Selected()
        for place in range(len(self)):
            others.add(~self[place])
        return others

    def count(self) -> int:
        """The number of selected rows."""
        return sum(int(np.bitwise_count(packed).sum()) for packed in self._packed)

    def indices(self) -> npt.NDArray[np.int64]:
        """Positions of the selected rows, ascending."""
        return np.flatnonzero(np.concatenate([self[place] for place in range(len(self))])).astype(np.int64)


def take_top(passes: Passes, budgets: Counts, sample: Keyed | None = None, totals: Counts | None = None) -> Selected:
    """The rows with the highest keys in each domain, up to and including the row that crosses its budget.

    Ties go by id, the lowest first. The result does not depend on the order of the rows, the chunks or the sample.

    Args:
        passes: returns all rows, chunk by chunk, the same at every call; called again after a wrong guess.
        budgets: (D,) of each domain; at most the weight of its rows.
        sample: some of the rows; needs `totals`. Without a sample, all rows are sorted.
        totals: (D,) weight of all rows of each domain.

    Memory: one bit per row, and 36 bytes for each row with a key between the two guessed keys. With a sample of a
    million rows these are about one row in 150, and all rows with exactly the key that crosses a budget.
    """
    low, high = np.full(len(budgets), -np.inf), np.full(len(budgets), np.inf)
    low[budgets <= 0] = np.inf
    if sample is not None and totals is not None:
        for domain in np.flatnonzero((budgets > 0) & (budgets < totals)).tolist():
            mine = sample.domains == domain
            share = budgets[domain] / totals[domain]
            low[domain], high[domain] = _between(sample.keys[mine], sample.weights[mine], share)
    while True:
        selected, above, rows, positions = _divided(passes, low, high)
        within = _sums(rows.domains, rows.weights, len(budgets))
        too_low, too_high = above + within < budgets, (above >= budgets) & (budgets > 0)
        if not (too_low | too_high).any():
            selected.set(np.sort(positions[_until_crossed(rows, budgets - above)]))
            return selected
        low, high = (
            np.where(too_high, high, np.where(too_low, -np.inf, low)),
            np.where(too_high, np.inf, np.where(too_low, low, high)),
        )


def _between(keys: Floats, weights: Counts, share: float) -> tuple[float, float]:
    """Two keys between which, in a sample, the highest keys reach a share of the total weight."""
    order = np.argsort(-keys, kind="stable")
    reached = np.cumsum(weights[order], dtype=np.float64)
    if not len(keys) or not reached[-1]:
        return -np.inf, np.inf
    rank = int(np.searchsorted(reached, share * reached[-1]))
    # for a sum of different weights; for a count, it would be √(n q (1 − q))
    spread = float(np.sqrt((weights.astype(np.float64) ** 2).sum() * max(share * (1 - share), 1 / len(keys))))
    width = int(np.ceil(_DEVIATIONS * spread / (reached[-1] / len(keys)))) + 1
    lowest = keys[order[rank + width]] if rank + width < len(keys) else -np.inf
    return float(lowest), float(keys[order[rank - width]]) if rank >= width else np.inf


def _divided(
    passes: Passes, low: Floats, high: Floats
) -> tuple[Selected, npt.NDArray[np.int64], Keyed, npt.NDArray[np.int64]]:
    """The rows above `high` in their domain; (D,) their weight; the rows from `low` to `high`, and their positions."""
    low, high = np.append(low, np.inf), np.append(high, np.inf)  # the last is for rows that are never taken
    selected, above = Selected(), np.zeros(len(low) - 1, np.int64)
    close: list[Keyed] = []
    places: list[npt.NDArray[np.int64]] = []
    start = 0
    for rows in passes():
        # most rows lie below `low`, and are dropped here
        there = np.flatnonzero(rows.keys >= low[rows.domains])
        is_above = rows.keys[there] > high[rows.domains[there]]
        top, here = there[is_above], there[~is_above]
        taken = np.zeros(len(rows.keys), bool)
        taken[top] = True
        selected.add(taken)
        above += _sums(rows.domains[top], rows.weights[top], len(above))
        close.append(rows.part(here))
        places.append(here + start)
        start += len(taken)
    columns = [*zip(*close, strict=True)]
    close.clear()  # so that the parts of each column are freed once joined
    keys, ids, weights, domains = (np.concatenate(columns.pop(0)) for _ in Keyed._fields)
    return selected, above, Keyed(keys, ids, weights, domains), np.concatenate(places)


def _until_crossed(rows: Keyed, budgets: Counts) -> npt.NDArray[np.int64]:
    """Which of `rows` are taken, domain by domain, from the highest key down."""
    order = np.lexsort((rows.ids, -rows.keys, rows.domains))
    weights, domains = rows.weights[order], rows.domains[order]
    # int64: a running sum of tokens exceeds 2^31 at 2 billion
    upto = np.concatenate([[0], np.cumsum(weights, dtype=np.int64)])
    before_domain = upto[np.searchsorted(domains, np.arange(len(budgets)))]
    return order[upto[:-1] - before_domain[domains] < budgets[domains]]


def _sums(domains: Codes, weights: Counts, num_domains: int) -> npt.NDArray[np.int64]:
    """(D,): the weight of rows by domain. float64 is exact for sums of whole numbers up to 2^53."""
    return np.bincount(domains, weights, num_domains).astype(np.int64)
