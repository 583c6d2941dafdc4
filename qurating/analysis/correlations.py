"""Correlations between criteria, and with the length."""

from collections.abc import Mapping

import numpy as np
import pyarrow as pa

from qurating.analysis.rated import Floats, Rated
from qurating.analysis.tables import from_rows
from qurating.metrics.ranks import ranks
from qurating.selection.statistics import is_equal

CORRELATIONS = pa.schema(
    [
        ("first", pa.string()),
        ("second", pa.string()),
        ("pearson", pa.float64()),
        ("spearman", pa.float64()),
        ("num", pa.int64()),
    ]
)
LENGTH = "length"


def correlations(rated: Rated, more: Mapping[str, Floats]) -> pa.Table:
    """Pearson's and Spearman's correlation of every two criteria, `more` columns (n,) and the length (`CORRELATIONS`).

    Each pair occurs once, over the `num` sequences that have both; null if one of them is constant.
    """
    columns = {**rated.ratings, **more, LENGTH: rated.lengths.astype(np.float64)}
    finite = {name: np.isfinite(values) for name, values in columns.items()}
    ranked = {name: ranks(values) if finite[name].all() else None for name, values in columns.items()}
    names, rows = list(columns), []
    for place, first in enumerate(names):
        for second in names[place + 1 :]:
            both = finite[first] & finite[second]
            if both.all():
                a, b, rank_a, rank_b = columns[first], columns[second], ranked[first], ranked[second]
            else:
                a, b = columns[first][both], columns[second][both]
                rank_a = rank_b = None
            rank_a = ranks(a) if rank_a is None else rank_a
            rank_b = ranks(b) if rank_b is None else rank_b
            rows.append((first, second, _pearson(a, b), _pearson(rank_a, rank_b), len(a)))
    return from_rows(rows, CORRELATIONS)


def _pearson(a: Floats, b: Floats) -> float | None:
    if len(a) < 2 or is_equal(a, a[0]).all() or is_equal(b, b[0]).all():
        return None
    x, y = a - a.mean(), b - b.mean()
    return float(np.clip((x @ y) / np.sqrt((x @ x) * (y @ y)), -1, 1))
