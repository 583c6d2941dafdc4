"""The highest keys of each domain up to a budget, of more rows than fit in memory.

From a sample of the rows it is guessed between which two keys each domain's budget is crossed. One pass takes all rows
above, keeps those between, and sorts them. Whether the guess held is checked by exact sums; if not, it is widened.

Four sequences of one domain in two chunks, and a budget of 50 tokens. From the highest key down, 0.9 brings 30 tokens
and 0.7 another 30, with which the budget is crossed: these two are taken, the first and the third.

>>> first = Keyed(np.array([0.9, 0.1]), np.array([4, 7], np.uint64), np.array([30, 20]), np.array([0, 0], np.int32))
>>> second = Keyed(np.array([0.7, 0.5]), np.array([9, 2], np.uint64), np.array([30, 25]), np.array([0, 0], np.int32))
>>> taken = take_top(lambda: iter([first, second]), budgets=np.array([50]))
>>> [taken[place].tolist() for place in range(len(taken))], taken.indices().tolist()
([[True, False], [True, False]], [0, 2])

With every second row as a sample, and 105 tokens in all, the result is the same:

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
_DEVIATIONS = 5.0  # of the sample, on both sides: one guess in a hundred thousand costs another pass


class Keyed(NamedTuple):
    """Some rows, one after another, all (n,): what they are ranked by, and what they add to the budget."""

    keys: Floats
    ids: Ids
    weights: Counts
    domains: Codes  # below 0: not to be taken

    def part(self, which: Counts | Mask) -> "Keyed":
        return Keyed(self.keys[which], self.ids[which], self.weights[which], self.domains[which])


Passes = Callable[[], Iterator[Keyed]]


class Selected:
    """Which rows were taken, a bit each, in the chunks that they came in."""

    def __init__(self) -> None:
        self._packed: list[npt.NDArray[np.uint8]] = []
        self._sizes: list[int] = []

    def add(self, mask: Mask) -> None:
        """Of the next chunk."""
        self._packed.append(np.packbits(mask))
        self._sizes.append(len(mask))

    def set(self, positions: Counts) -> None:
        """Take more rows: positions counted over all chunks, ascending."""
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
        """The rows of a chunk, (n,)."""
        return np.unpackbits(self._packed[place], count=self._sizes[place]).view(np.bool_)

    def at(self, positions: Counts) -> Mask:
        """Whether the rows at these positions are taken; ascending, counted over all chunks."""
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

    def count(self) -> int:
        """How many rows are taken."""
        return sum(int(np.bitwise_count(packed).sum()) for packed in self._packed)

    def indices(self) -> npt.NDArray[np.int64]:
        """Positions of the rows taken, ascending."""
        return np.flatnonzero(np.concatenate([self[place] for place in range(len(self))])).astype(np.int64)


def take_top(passes: Passes, budgets: Counts, sample: Keyed | None = None, totals: Counts | None = None) -> Selected:
    """The rows with the highest keys in each domain, until its budget is crossed; the one that crosses it is taken.

    Equal keys go by id, the lowest first. The result does not depend on the order of the rows, on the chunks or on the
    sample.

    Args:
        passes: gives all rows, chunk by chunk, the same at every call; called once, or again where a guess was wrong.
        budgets: (D,) of each domain; at most what its rows weigh.
        sample: some of the rows, and what all rows of each domain weigh, `totals` (D,). Without, all rows are sorted.

    Memory: a bit a row, and 36 bytes for each row whose key is among those between which a budget is crossed: with a
    sample of a million about one row in 150, and besides all that have the very key of the crossing.
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
    """Two keys between which, by a sample, the highest keys reach a share of all weight."""
    order = np.argsort(-keys, kind="stable")
    reached = np.cumsum(weights[order], dtype=np.float64)
    if not len(keys) or not reached[-1]:
        return -np.inf, np.inf
    rank = int(np.searchsorted(reached, share * reached[-1]))
    # of a sum of weights that differ: of a count, it would be √(n q (1 − q))
    spread = float(np.sqrt((weights.astype(np.float64) ** 2).sum() * max(share * (1 - share), 1 / len(keys))))
    width = int(np.ceil(_DEVIATIONS * spread / (reached[-1] / len(keys)))) + 1
    lowest = keys[order[rank + width]] if rank + width < len(keys) else -np.inf
    return float(lowest), float(keys[order[rank - width]]) if rank >= width else np.inf


def _divided(
    passes: Passes, low: Floats, high: Floats
) -> tuple[Selected, npt.NDArray[np.int64], Keyed, npt.NDArray[np.int64]]:
    """What lies above `high` in its domain; (D,) what it weighs; the rows from `low` to `high`, and their places."""
    low, high = np.append(low, np.inf), np.append(high, np.inf)  # the last is for what is not to be taken
    selected, above = Selected(), np.zeros(len(low) - 1, np.int64)
    close: list[Keyed] = []
    places: list[npt.NDArray[np.int64]] = []
    start = 0
    for rows in passes():
        # most rows lie below, and are not looked at again
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
    close.clear()  # so that each column's parts go once they are joined
    keys, ids, weights, domains = (np.concatenate(columns.pop(0)) for _ in Keyed._fields)
    return selected, above, Keyed(keys, ids, weights, domains), np.concatenate(places)


def _until_crossed(rows: Keyed, budgets: Counts) -> npt.NDArray[np.int64]:
    """Which of `rows` are taken, domain by domain, from the highest key down."""
    order = np.lexsort((rows.ids, -rows.keys, rows.domains))
    weights, domains = rows.weights[order], rows.domains[order]
    # int64: a running sum of tokens passes 2^31 at 2 billion
    upto = np.concatenate([[0], np.cumsum(weights, dtype=np.int64)])
    before_domain = upto[np.searchsorted(domains, np.arange(len(budgets)))]
    return order[upto[:-1] - before_domain[domains] < budgets[domains]]


def _sums(domains: Codes, weights: Counts, num_domains: int) -> npt.NDArray[np.int64]:
    """(D,): what rows weigh, by domain. float64 is exact for sums of whole numbers up to 2^53."""
    return np.bincount(domains, weights, num_domains).astype(np.int64)
