"""How much of the ratings a grouping explains: does a rater tell texts apart, or only sources?"""

import numpy as np
import pyarrow as pa

from qurating.analysis.rated import CLUSTER, Counts, Floats, Groups, Rated
from qurating.analysis.tables import from_rows
from qurating.selection.statistics import is_equal

LENGTH = "length"
VARIANCE = pa.schema(
    [
        ("criterion", pa.string()),
        ("explained_by", pa.string()),
        ("eta_squared", pa.float64()),
        ("by_chance", pa.float64()),
        ("num_groups", pa.int64()),
    ]
)
NUM_DECILES = 10


def eta_squared(values: Floats, groups: Groups) -> tuple[float | None, int, int]:
    """η² = Σ_g n_g (mean_g − mean)² / Σ_i (value_i − mean)², of one-way analysis of variance.

    Args:
        values: (n,); those that are not finite, and those in no group, are left out.

    Returns:
        η², None for constant values; the number of groups with values; the number of values.
    """
    used = np.isfinite(values) & (groups.codes >= 0)
    values, codes = values[used], groups.codes[used]
    sizes = np.bincount(codes, minlength=1)
    there = int(np.count_nonzero(sizes))
    if len(values) < 2 or is_equal(values, values[0]).all():
        return None, there, len(values)
    values = values - values.mean()
    values -= values.mean()  # what rounding has left
    sums = np.bincount(codes, values)
    between = float((sums[sizes > 0] ** 2 / sizes[sizes > 0]).sum())
    return min(1.0, between / float(values @ values)), there, len(values)


def length_deciles(lengths: Counts) -> Groups:
    """Sequences (n,) by decile of length; equal lengths share a decile."""
    edges = np.unique(np.quantile(lengths, np.arange(1, NUM_DECILES) / NUM_DECILES))
    codes = np.searchsorted(edges, lengths, side="right").astype(np.int32)
    return Groups(codes, [str(place + 1) for place in range(len(edges) + 1)])


def variance(rated: Rated) -> pa.Table:
    """η² of each criterion by domain, deciles of length, and each label column (`VARIANCE`); null if it is undefined.

    `by_chance` is the mean of η² if the groups meant nothing, (groups − 1) / (values − 1): 5,000 domains explain much
    by themselves. Topic clusters count as another label.
    """
    groupings = {LENGTH: length_deciles(rated.lengths), **rated.groups}
    order = sorted(groupings, key=lambda name: (name == CLUSTER, name not in ("domain", LENGTH)))
    rows = []
    for criterion, values in rated.ratings.items():
        for name in order:
            found, num_groups, number = eta_squared(values, groupings[name])
            by_chance = (num_groups - 1) / (number - 1) if number > 1 else None
            rows.append((criterion, name, found, by_chance, num_groups))
    return from_rows(rows, VARIANCE)
