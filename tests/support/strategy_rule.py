"""A selection rule of somebody's own, outside the package, with settings whose names are those of runtime settings."""

from typing import Any

import numpy as np

from qurating.selection.cutoff import Selected
from qurating.selection.rows import Rows


def pick(rows: Rows, *, seed: int, strategy: str, devices: int = 1, num_workers: int = 1, **others: Any) -> Selected:
    """The first rows of each chunk, or the last. `others`: settings of the rule that it replaces."""
    selected = Selected()
    for chunk in rows.chunks():
        mask = np.zeros(len(chunk.ids), bool)
        mask[slice(0, 20) if strategy == "first" else slice(-20, None)] = True
        selected.add(mask)
    return selected
