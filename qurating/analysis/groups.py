"""Ratings by group: moments, quantiles, numbers of different values, and a sequence at each percentile."""

from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qurating.analysis.rated import ALL, DOMAIN, Floats, Groups, Rated

QUANTILES = (5, 25, 50, 75, 95)  # of `by_group`
PERCENTILES = (5, 30, 70, 95)  # of `percentiles`, as the QuRating paper shows documents
BY_GROUP = pa.schema(
    [
        *((name, pa.string()) for name in ("grouping", "group", "criterion")),
        *((name, pa.int64()) for name in ("num", "tokens")),
        *((name, pa.float64()) for name in ("mean", "sd")),
        ("distinct", pa.int64()),
        *((f"p{quantile}", pa.float64()) for quantile in QUANTILES),
    ]
)
AT_PERCENTILES = pa.schema(
    [
        ("criterion", pa.string()),
        ("domain", pa.string()),
        ("percentile", pa.int32()),
        ("id", pa.int64()),
        ("rating", pa.float64()),
    ]
)


class Sorted(NamedTuple):
    """The finite values of the sequences in groups, by group and then ascending.

    `rows`: of each, (m,); `values` (m,); `groups`: the codes that have a value, (g,), ascending; `starts` and `sizes`
    of their runs, (g,).
    """

    rows: npt.NDArray[np.int64]
    values: Floats
    groups: npt.NDArray[np.int64]
    starts: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]


def ascending(values: Floats) -> npt.NDArray[np.int64]:
    """The rows with finite values (n,), by value; equal ones by row."""
    rows = np.flatnonzero(np.isfinite(values))
    return rows[np.argsort(values[rows], kind="stable")]


def sorted_by_group(values: Floats, rows: npt.NDArray[np.int64], groups: Groups) -> Sorted:
    """Values (n,) by group; `rows` are those of `ascending(values)`."""
    codes = groups.codes[rows]
    inside = codes >= 0
    rows, codes = rows[inside], codes[inside]
    order = np.argsort(codes, kind="stable")
    rows = rows[order]
    sizes = np.bincount(codes, minlength=len(groups.names))
    there = np.flatnonzero(sizes)
    return Sorted(rows, values[rows], there, np.cumsum(sizes[there]) - sizes[there], sizes[there])


def by_group(rated: Rated) -> pa.Table:
    """Ratings of every criterion by group (`BY_GROUP`); groups without a rating are absent.

    `num` sequences with a finite rating and their `tokens`; `sd` is the population's; `distinct` is the number of
    different ratings; percentiles are interpolated linearly.
    """
    everything = Groups(np.zeros(len(rated.ids), np.int32), [ALL])
    parts = []
    for criterion, values in rated.ratings.items():
        rows = ascending(values)
        for grouping, groups in {ALL: everything, **rated.groups}.items():
            found = sorted_by_group(values, rows, groups)
            parts.append(_table(grouping, groups, criterion, found, rated.lengths))
    return pa.concat_tables([BY_GROUP.empty_table(), *parts]).combine_chunks()


def _table(grouping: str, groups: Groups, criterion: str, found: Sorted, lengths: npt.NDArray[np.int64]) -> pa.Table:
    count = len(found.groups)
    if not count:
        return BY_GROUP.empty_table()
    mean = np.add.reduceat(found.values, found.starts) / found.sizes
    above = found.values - np.repeat(mean, found.sizes)
    mean += np.add.reduceat(above, found.starts) / found.sizes  # what rounding has left
    sd = np.sqrt(np.add.reduceat(above * above, found.starts) / found.sizes)
    is_new = np.append(True, found.values[1:] != found.values[:-1])
    is_new[found.starts] = True
    distinct = np.add.reduceat(is_new.astype(np.int64), found.starts)
    columns = {
        "grouping": pa.array([grouping] * count, pa.string()),
        "group": pa.array([groups.names[code] for code in found.groups.tolist()], pa.string()),
        "criterion": pa.array([criterion] * count, pa.string()),
        "num": found.sizes,
        "tokens": np.add.reduceat(lengths[found.rows], found.starts),
        "mean": mean,
        "sd": np.where(distinct > 1, sd, 0.0),
        "distinct": distinct,
        **{f"p{quantile}": _quantiles(found, quantile) for quantile in QUANTILES},
    }
    return pa.table(columns, schema=BY_GROUP)


def _quantiles(found: Sorted, percent: float) -> Floats:
    place = percent / 100 * (found.sizes - 1)
    low = np.floor(place).astype(np.int64)
    share = place - low
    high = np.minimum(low + 1, found.sizes - 1)
    below, above = found.values[found.starts + low], found.values[found.starts + high]
    quantiles: Floats = below + share * (above - below)
    return quantiles


def percentiles(rated: Rated) -> pa.Table:
    """The sequence at each of `PERCENTILES` of the ratings by a criterion within a domain (`AT_PERCENTILES`)."""
    domains = rated.groups[DOMAIN]
    parts = []
    for criterion, values in rated.ratings.items():
        found = sorted_by_group(values, ascending(values), domains)
        names = pa.array([domains.names[code] for code in found.groups.tolist()], pa.string())
        for percentile in PERCENTILES:
            rows = found.rows[found.starts + np.rint(percentile / 100 * (found.sizes - 1)).astype(np.int64)]
            columns = [
                pa.array([criterion] * len(rows), pa.string()),
                names,
                np.full(len(rows), percentile, np.int32),
                rated.ids[rows],
                values[rows],
            ]
            parts.append(pa.table(columns, schema=AT_PERCENTILES))
    table = pa.concat_tables([AT_PERCENTILES.empty_table(), *parts]).combine_chunks()
    return table.sort_by([("criterion", "ascending"), ("domain", "ascending"), ("percentile", "ascending")])
