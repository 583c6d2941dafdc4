"""A rated corpus in memory, column by column and without texts: what all analyses start from."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from qurating.artifacts.files import row_files
from qurating.corpus.hashing import Ids
from qurating.corpus.sequences import another_corpus
from qurating.rating.shards import check_fresh
from qurating.runtime.errors import StageError
from qurating.selection.corpus_rows import CorpusRows, check_column
from qurating.selection.rows import Chunk, Codes
from qurating.selection.subsets import read_members

Counts = npt.NDArray[np.int64]
Floats = npt.NDArray[np.float64]
Mask = npt.NDArray[np.bool_]
DOMAIN, CLUSTER, ALL = "domain", "cluster", "all"  # groupings; the others are label columns
OTHERS = "(other)"  # the group of all values beyond the `MAX_GROUPS` of a label column with most tokens
MAX_GROUPS = 10_000
_AVERAGE = "_average"


class Groups(NamedTuple):
    """A group of each sequence: `codes` (n,), indices into `names`; below 0: in no group."""

    codes: Codes
    names: list[str]

    def at(self, rows: Any) -> "Groups":
        return Groups(self.codes[rows], self.names)


class Source(NamedTuple):
    """Where a criterion's ratings are: the artifact, and the criterion's name there."""

    ratings: Path
    criterion: str


@dataclass(frozen=True)
class Rated:
    """Sequences of a rated corpus, every `stride`-th of `num_rows`, in corpus order; each array is (n,).

    `ratings` by criterion, as stored: NaN or infinite where there is none. `groups` by grouping: the domain, label
    columns, topic clusters. `file_sizes` are the rows of the shards of the corpus.
    """

    ids: Counts
    lengths: Counts
    groups: Mapping[str, Groups]
    ratings: Mapping[str, Floats]
    sources: Mapping[str, Source]
    file_sizes: Sequence[int]
    stride: int

    @property
    def num_rows(self) -> int:
        return sum(self.file_sizes)

    @property
    def positions(self) -> Counts:
        """Of the sequences in the corpus."""
        return np.arange(0, self.num_rows, self.stride)

    def rows_of(self, ids: Counts) -> Counts:
        """The row of each sequence by its id, in the shape of `ids`; −1 for one that is not here."""
        if not len(self.ids):
            return np.full(ids.shape, -1)
        order = np.argsort(self.ids, kind="stable")
        places = np.minimum(np.searchsorted(self.ids[order], ids), len(order) - 1)
        return np.where(self.ids[order][places] == ids, order[places], -1)

    def with_groups(self, grouping: str, groups: Groups) -> "Rated":
        return replace(self, groups={**self.groups, grouping: groups})

    def sampling(self) -> str:
        """How the sequences were chosen, for people."""
        return every(self.stride)


def every(stride: int) -> str:
    """A sample of every `stride`-th sequence, for people."""
    tail = "th" if stride % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(stride % 10, "th")
    return "all sequences" if stride == 1 else f"every {stride:,}{tail} sequence"


def stride_for(count: int, most: int) -> int:
    """The smallest k such that every k-th of `count` items are at most `most`."""
    return max(1, -(-count // max(1, most)))


def read_rated(
    corpus: Path,
    ratings: Sequence[Path],
    *,
    domain_column: str,
    label_columns: Sequence[str],
    max_sequences: int,
    only: Counts | None = None,
) -> Rated:
    """Read ids, lengths, groups and ratings of at most `max_sequences` evenly spaced training sequences.

    A criterion that two artifacts rate keeps its name in the first, and is `<criterion>@<artifact>` in the others.
    With `only`, the sequences are those with these ids instead, and their positions are unknown.

    Raises:
        StageError: no ratings; ratings of another corpus, or stale ones; a label column that the corpus does not have
            (lists the columns), or that has the name of another grouping.
    """
    if not ratings:
        raise StageError(
            "no ratings of this corpus are complete: make them first, with stage=[rate], or name some: "
            "stages.analyse_ratings.inputs.ratings=[ratings/NAME]"
        )
    if wrong := [name for name in label_columns if name in (DOMAIN, CLUSTER, ALL) or label_columns.count(name) > 1]:
        raise StageError(
            f"stages.analyse_ratings.label_columns: {wrong[0]} is the name of another grouping, or is given twice"
        )
    first = row_files(corpus / "train")[0]
    for column in (domain_column, *label_columns):
        check_column(first, column)
    rows = CorpusRows(corpus, None, [], domain_column, "reading domains")
    stride = stride_for(len(rows), max_sequences)
    wanted = None if only is None else np.unique(only.view(np.uint64))
    ids, lengths, domains = _sampled(rows, stride, wanted)
    groups = {DOMAIN: Groups(domains, rows.domain_names)}
    for column in label_columns:
        labelled = CorpusRows(corpus, None, [], column, f"reading {column}")
        *_, codes = _sampled(labelled, stride, wanted)
        groups[column] = largest(Groups(codes, labelled.domain_names), lengths)
    found: dict[str, Floats] = {}
    sources: dict[str, Source] = {}
    for folder in dict.fromkeys(ratings):
        check_fresh(corpus, folder)
        criteria = criteria_of(folder)
        scored = CorpusRows(corpus, folder, criteria, None, f"reading {folder.name}")
        values: dict[str, list[Floats]] = {name: [] for name in criteria}
        for chunk, here in _chosen(scored, stride, wanted):
            for name in criteria:
                values[name].append(chunk.scores[name][here].copy())  # a view would keep the whole chunk
        for name in criteria:
            unique = name if name not in found else f"{name}@{folder.name}"
            found[unique], sources[unique] = np.concatenate(values.pop(name)), Source(folder, name)
    return Rated(ids, lengths, groups, found, sources, rows.file_sizes, stride)


def criteria_of(ratings: Path) -> list[str]:
    """The criteria of an artifact of ratings, in the order of its columns.

    Raises:
        StageError: it has none.
    """
    file = row_files(ratings / "train")[0]
    names = [name.removesuffix(_AVERAGE) for name in pq.read_schema(file).names if name.endswith(_AVERAGE)]
    if not names:
        raise StageError(f"{file} has no ratings: no column ends in {_AVERAGE}")
    return names


def members_of(rated: Rated, subset: Path, corpus: Path) -> Mask:
    """Which of the sequences a subset has, (n,).

    Raises:
        StageError: the subset was selected from another corpus.
    """
    members = read_members(subset, corpus, rated.file_sizes)
    inside = np.zeros(rated.num_rows, bool)
    inside[members.positions] = True
    mask = inside[:: rated.stride]
    ids = pq.read_table(subset / "subset.parquet", columns=["id"])["id"].to_numpy()
    of_position = np.argsort(members.positions, kind="stable")
    own = of_position[members.positions[of_position] % rated.stride == 0]
    if not np.array_equal(ids[own], rated.ids[mask]):
        raise another_corpus(f"{subset} was selected from", corpus, "it has other ids")
    return mask


def largest(groups: Groups, lengths: Counts) -> Groups:
    """The same with only the `MAX_GROUPS` groups with most tokens; the rest is one group, `OTHERS`."""
    if len(groups.names) <= MAX_GROUPS:
        return groups
    tokens = np.bincount(groups.codes, lengths, len(groups.names))
    kept = np.sort(np.argsort(-tokens, kind="stable")[:MAX_GROUPS])
    new = np.full(len(groups.names), MAX_GROUPS, np.int32)
    new[kept] = np.arange(MAX_GROUPS, dtype=np.int32)
    return Groups(new[groups.codes], [*(groups.names[place] for place in kept.tolist()), OTHERS])


def _chosen(rows: CorpusRows, stride: int, wanted: Ids | None) -> Iterator[tuple[Chunk, Any]]:
    """Each chunk with its rows that are sampled, or whose ids are among the `wanted` (ascending)."""
    start = 0
    for chunk in rows.chunks():
        if wanted is None:
            yield chunk, slice(-start % stride, None, stride)
        else:
            places = np.searchsorted(wanted, chunk.ids)
            places[places == len(wanted)] = 0
            yield chunk, np.flatnonzero(wanted[places] == chunk.ids) if len(wanted) else np.empty(0, np.int64)
        start += len(chunk.ids)


def _sampled(rows: CorpusRows, stride: int, wanted: Ids | None) -> tuple[Counts, Counts, Codes]:
    """Ids, lengths and codes of the chosen rows."""
    parts = [
        (chunk.ids[here].view(np.int64).copy(), chunk.lengths[here].astype(np.int64), chunk.domains[here].copy())
        for chunk, here in _chosen(rows, stride, wanted)
    ]
    ids, lengths, codes = (np.concatenate(column) for column in zip(*parts, strict=True))
    return ids, lengths, codes
