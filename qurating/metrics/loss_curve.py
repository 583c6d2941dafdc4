"""The held-out loss along a training, overall and by domain, from the documents in `curve.parquet` of `train_lm`."""

from collections.abc import Set
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from qurating.metrics.perplexity import Documents, by_document, metrics

SCHEMA = pa.schema(
    {
        "step": pa.int64(),
        "tokens": pa.int64(),
        "document_id": pa.string(),
        "domain": pa.string(),
        "nll_nats": pa.float64(),
        "num_tokens": pa.int64(),
        "num_bytes": pa.int64(),
    }
)


class Point(NamedTuple):
    """The held-out loss after an optimizer step.

    `step` counts from 1, and `tokens` were trained on by its end. `nats_per_token` is Σ nll / Σ tokens over all
    documents, `domains` the same by domain, sorted by name; a domain without tokens is absent. `num_tokens` were
    predicted.
    """

    step: int
    tokens: int
    nats_per_token: float
    num_tokens: int
    domains: dict[str, float]


def point(step: int, tokens: int, documents: Documents) -> Point:
    """The losses of one point. Sums are in float64, in the order of `documents`: sorted by (domain, id).

    Raises:
        ValueError: the documents have no token.
    """
    found = metrics(documents)
    if not found["overall"]["num_tokens"]:
        raise ValueError("no held-out token is left: no document of the sample counts, or all are empty")
    domains = {name: each["nats_per_token"] for name, each in found["domains"].items() if each["num_tokens"]}
    return Point(step, tokens, found["overall"]["nats_per_token"], found["overall"]["num_tokens"], domains)


def loss_curve(table: pa.Table, only: Set[str] | None = None) -> list[Point]:
    """The points of a curve, in the order of their steps.

    Args:
        table: `curve.parquet`, one row per point and document (SCHEMA), in any order, which changes nothing.
        only: ids of the documents that count, such as those of an evaluation. They need not be in the table. None: all.

    Raises:
        ValueError: no token is left.
    """
    columns = {name: table[name].to_numpy() for name in SCHEMA.names}
    kept = np.array([only is None or name in only for name in columns["document_id"]], dtype=bool)
    points = []
    for step in np.unique(columns["step"]):  # sorted
        here = columns["step"] == step
        chosen = here & kept
        names = ("document_id", "domain", "nll_nats", "num_tokens", "num_bytes")
        documents = by_document(*(columns[name][chosen] for name in names))
        points.append(point(int(step), int(columns["tokens"][here][0]), documents))
    return points
