"""The statistics pass over the rows to select from: tokens by domain, checks of the rows, and moments of the scores."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from qurating.corpus.hashing import Ids
from qurating.selection.noise import Floats
from qurating.selection.rows import Chunk, Codes, Counts, Rows

GLOBAL, PER_DOMAIN, NONE = "global", "per_domain", "none"

MAX_CHECKED_IDS = 2**22  # ids of a corpus held in memory, to check that none occurs twice: 32 MB

SAMPLE_SIZE = 2**20  # rows of the sample from which cuts are guessed


@dataclass
class RowStatistics:
    """Statistics of the rows to select from.

    `names` of the domains by code; `tokens` of each domain, (D,); a `sample` of every k-th row with its position, None
    for few rows; `sums` of the scores by criterion.
    """

    names: list[str]
    tokens: Counts
    sample: tuple[Chunk, Counts] | None
    sums: dict[str, "Sums"] = field(default_factory=dict)  # by criterion

    def tokens_by_domain(self) -> dict[str, int]:
        return dict(zip(self.names, self.tokens.tolist(), strict=True))

    def in_order(self, by_domain: Mapping[str, int]) -> Counts:
        """Numbers by name of the domain, as (D,) by code."""
        return np.array([by_domain[name] for name in self.names], dtype=np.int64)


def statistics_pass(rows: Rows, normalisation: str = NONE) -> RowStatistics:
    """Count tokens by domain, sum up the scores to be normalised, and refuse invalid rows.

    Up to `MAX_CHECKED_IDS` rows, all ids are compared; with more rows, only the selected ones can be.

    Raises:
        ValueError: scores that are NaN or infinite (how many, and the position and id of the first), a length below
            zero, two rows with one id, no rows.
    """
    tokens = np.zeros(0, np.int64)
    bad: dict[str, tuple[int, str]] = {}
    ids: list[Ids] = []
    sums = {name: Sums(normalisation) for name in rows.criteria}
    stride = -(-len(rows) // SAMPLE_SIZE)
    sample: list[tuple[Chunk, Counts]] = []
    start = 0
    for chunk in rows.chunks():
        if (chunk.lengths < 0).any():
            first = int((chunk.lengths < 0).argmax())
            raise ValueError(f"the length of id {_signed(chunk.ids[first])} is below zero: {chunk.lengths[first]}")
        tokens = _plus(tokens, np.bincount(chunk.domains, chunk.lengths).astype(np.int64))
        for name, scores in chunk.scores.items():
            finite = np.isfinite(scores)
            if not finite.all():
                first = int((~finite).argmax())
                said = f"the first at position {start + first}, of id {_signed(chunk.ids[first])}"
                number, said = bad.get(name, (0, said))
                bad[name] = number + int((~finite).sum()), said
            elif not bad:
                sums[name].add(scores, chunk.domains)
        if stride > 1:
            here = np.arange(-start % stride, len(chunk.ids), stride)
            sample.append((chunk.part(here), here + start))
        if len(rows) <= MAX_CHECKED_IDS:
            ids.append(chunk.ids.copy())
        start += len(chunk.ids)
    if bad:
        each = (f"{number:,} scores by {name} are NaN or infinite, {said}" for name, (number, said) in bad.items())
        raise ValueError("; ".join(each))
    if not start:
        raise ValueError("there is no sequence to select from")
    if ids:
        refuse_repeated(np.concatenate(ids))
    tokens = _plus(tokens, np.zeros(len(rows.domain_names), np.int64))  # of domains without a row
    return RowStatistics(rows.domain_names, tokens, _joined(sample) if sample else None, sums)


def _joined(parts: list[tuple[Chunk, Counts]]) -> tuple[Chunk, Counts]:
    chunks, places = zip(*parts, strict=True)
    scores = {name: np.concatenate([chunk.scores[name] for chunk in chunks]) for name in chunks[0].scores}
    ids, lengths, domains = (np.concatenate(columns) for columns in list(zip(*chunks, strict=True))[:3])
    return Chunk(ids, lengths, domains, scores), np.concatenate(places)


def refuse_repeated(ids: Ids) -> None:
    """Raises ValueError if an id occurs twice; `ids` is sorted in place."""
    ids.sort()
    repeated = ids[1:][ids[1:] == ids[:-1]]
    if len(repeated):
        raise ValueError(f"{len(repeated):,} ids occur twice, for example {_signed(repeated[0])}")


def normalise(scores: Floats) -> Floats:
    """Zero mean, unit (population) deviation; constant scores become zeros."""
    sums = Sums(GLOBAL)
    sums.add(scores, np.zeros(0, np.int32))
    return sums.standardised(scores, np.zeros(0, np.int32))


class Sums:
    """Sums of scores, for normalising them; see `rules.select` for the three normalisations."""

    def __init__(self, normalisation: str) -> None:
        """Raises ValueError for an unknown normalisation."""
        if normalisation not in (GLOBAL, PER_DOMAIN, NONE):
            raise ValueError(f"normalisation is {GLOBAL}, {PER_DOMAIN} or {NONE}, not {normalisation!r}")
        self.normalisation = normalisation
        self._origin: float | None = None  # subtracted from the scores before summing
        self._counts = self._sums = self._squares = np.zeros(0)  # (1,), or (D,)
        self._moments: tuple[Floats, Floats] | None = None

    def add(self, scores: Floats, domains: Codes) -> None:
        """Add the scores (n,) of rows of these domains (n,)."""
        if self.normalisation == NONE or not len(scores):
            return
        if self._origin is None:
            self._origin = float(scores.mean())
        above = scores - self._origin
        if self.normalisation == GLOBAL:
            more = (np.array([len(scores)]), above.sum(keepdims=True), np.array([np.dot(above, above)]))
        else:
            more = (np.bincount(domains), np.bincount(domains, above), np.bincount(domains, above * above))
        self._counts, self._sums, self._squares = (
            _plus(*pair) for pair in zip((self._counts, self._sums, self._squares), more, strict=True)
        )
        self._moments = None

    def standardised(self, scores: Floats, domains: Codes) -> Floats:
        """Scores (n,) of rows of these domains, normalised over all scores that were added."""
        if self.normalisation == NONE:
            return scores
        if self._moments is None:
            self._moments = self.moments()
        mean, deviation = self._moments
        if self.normalisation == GLOBAL:
            return (scores - mean[0]) / deviation[0]
        return (scores - mean[domains]) / deviation[domains]

    def moments(self) -> tuple[Floats, Floats]:
        """Mean and (population) deviation, (1,) or (D,).

        Rounded, so that they do not depend on the order of additions, which is that of the shards: the deviation to a
        float32, the mean to a multiple of 2⁻²⁴ deviations. The deviation of constant scores is 1 here.
        """
        origin = self._origin or 0.0
        counts = np.maximum(self._counts, 1)
        above = self._sums / counts
        variance = np.maximum(self._squares / counts - above**2, 0)
        # because of rounding, the deviation of equal numbers need not be exactly zero
        is_constant = variance <= 1e-24 * np.maximum(1.0, (np.abs(above) + abs(origin)) ** 2)
        deviation = np.where(is_constant, 1.0, np.sqrt(variance)).astype(np.float32).astype(np.float64)
        grid = deviation * 2.0**-24
        mean = origin + above
        return np.where(is_constant, mean, np.rint(mean / grid) * grid), deviation


CONSTANT = "constant scores"  # label of an artifact whose scores chose nothing


class Constancy:
    """Domains in which all scores are equal, but for rounding: there a score chooses nothing, and ids or noise do.

    Args:
        criteria: names of the scores.
    """

    def __init__(self, criteria: Sequence[str]) -> None:
        self.criteria = list(criteria)
        self.counts: Counts = np.zeros(0, np.int64)  # rows of each domain, (D,); while its scores are equal
        self._first = {name: np.zeros(0) for name in criteria}  # a score of each domain, (D,); NaN before its first row
        self._varies = {name: np.zeros(0, bool) for name in criteria}  # (D,)

    def add(self, scores: Mapping[str, Floats], domains: Codes) -> None:
        """Add the finite scores (n,) of rows of these domains (n,)."""
        if all(map(np.all, self._varies.values())) and domains.max(initial=-1) < len(self.counts):
            return  # nothing more to learn
        self.counts = _plus(self.counts, np.bincount(domains))
        for name in self._first:
            new = len(self.counts) - len(self._first[name])
            first = self._first[name] = np.append(self._first[name], np.full(new, np.nan))
            varies = self._varies[name] = np.append(self._varies[name], np.zeros(new, bool))
            open_rows = np.flatnonzero(~varies[domains])  # soon none
            own, score = domains[open_rows], scores[name][open_rows]
            is_new = np.isnan(first[own])
            first[own[is_new]] = score[is_new]
            varies[own[~is_equal(score, first[own])]] = True

    def constant(self, name: str) -> npt.NDArray[np.bool_]:
        """Domains of several rows with equal scores, (D,)."""
        return ~self._varies[name] & (self.counts > 1)

    def is_constant(self, name: str) -> bool:
        """Whether the scores are equal in every domain of several rows, of which there is at least one."""
        return bool((self.counts > 1).any() and not self._varies[name].any())


def is_equal(scores: Floats, first: Floats | float) -> npt.NDArray[np.bool_]:
    """Whether scores (n,) equal `first`, but for rounding."""
    return np.abs(scores - first) <= 1e-12 * np.maximum(1.0, np.abs(first))


def _plus(total: npt.NDArray, more: npt.NDArray) -> npt.NDArray:
    """The sum of two arrays by domain; later chunks may know more domains than earlier ones."""
    longer, shorter = (total, more) if len(total) >= len(more) else (more, total)
    result = longer.astype(np.result_type(total, more), copy=True)
    result[: len(shorter)] += shorter
    return result


def _signed(identifier: np.uint64) -> int:
    """An id as the corpus has it, signed."""
    return int(np.array([identifier], dtype=np.uint64).view(np.int64)[0])
