"""Figures about models that were trained on selections, from the tables of `qurating.analysis.results`."""

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from matplotlib.figure import Figure

from qurating.evaluation.runs import COMPLETE
from qurating.reports import figures
from qurating.reports.answer import losses
from qurating.reports.numbers import short_count

MAX_METHODS = 7  # in the figures; uniform is one more
MAX_CURVES = 12  # in colour


def results(table: pa.Table) -> Figure | None:
    """The loss by tokens, over seeds: uniform, and the methods with the lowest loss; table `results`."""
    rows = _best(table)
    return figures.loss_by_tokens(losses(rows), "uniform") if any(row["tokens"] for row in rows) else None


def curves(table: pa.Table, results: pa.Table) -> Figure | None:
    """The held-out loss of each training by tokens, one of each of the best methods in colour; table `curves`."""
    heldout = table.filter(pc.equal(table["kind"], "heldout"))
    best = [row["number"] for row in _best(results)]
    lines: dict[str, tuple[Any, Any]] = {}
    named: dict[int, str] = {}
    keys = zip(heldout["number"].to_pylist(), heldout["replicate"].to_pylist(), strict=True)
    for number, replicate in dict.fromkeys(keys):
        own = heldout.filter(pc.and_(pc.equal(heldout["number"], number), pc.equal(heldout["replicate"], replicate)))
        name = f"{own['method'][0]}, {short_count(own['tokens'][-1].as_py())}"
        if number in named or number not in best:
            name += f" (seed {replicate})"
        else:
            named[number] = name
        lines[name] = own["tokens"].to_numpy().astype(np.float64), own["nats_per_token"].to_numpy()
    shown = [*named.values()][:MAX_CURVES]
    return figures.curves(lines, shown, "tokens trained on", "held-out loss") if lines else None


def _best(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of uniform, and of the `MAX_METHODS` others with the lowest loss."""
    rows = [row for row in table.to_pylist() if row["state"] == COMPLETE]
    others = sorted((row for row in rows if not row["is_uniform"]), key=lambda row: row["loss"])
    return [*(row for row in rows if row["is_uniform"]), *others[:MAX_METHODS]]
