"""The losses along the training of a language model: on held-out text, and on its own batches."""

import csv
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from qurating.evaluation import parts
from qurating.metrics.loss_curve import SCHEMA, Point, loss_curve

MAX_POINTS = 400  # of a training loss
_SMOOTHED = 50  # the running mean of a training loss is over one part of so many

Floats = npt.NDArray[np.float64]


class TrainingLoss(NamedTuple):
    """A running mean of the training loss, each array (n,): optimizer steps, tokens seen by then, nats per token.

    `tokens` is None where the training did not record them, as in earlier versions.
    """

    steps: Floats
    tokens: Floats | None
    nats_per_token: Floats


def heldout_loss(model: Path, evaluation: Path, part: str) -> list[Point] | None:
    """The held-out loss along a training, on the documents that its evaluation reads; None if it cannot be read.

    Args:
        model: an artifact of `train_lm`.
        evaluation: of this model.
        part: of the held-out text, see `parts.evaluated`.
    """
    file = model / "curve.parquet"
    if not file.is_file():
        return None  # of an earlier version, or measured at no point
    try:
        read = parts.evaluated(evaluation, part)
        table = pq.read_table(file, columns=SCHEMA.names)
        return loss_curve(table, frozenset(read["document_id"].to_pylist())) or None
    except (OSError, ValueError, pa.ArrowException):  # ArrowException: damaged; ValueError: no document is left
        return None


def training_loss(model: Path) -> TrainingLoss | None:
    """The training loss as a running mean over a fiftieth of the training, at most `MAX_POINTS` evenly spaced points.

    None if the training has recorded none.
    """
    file = model / "metrics.csv"
    if not file.is_file():
        return None
    with open(file, newline="", encoding="utf-8") as stream:
        lines = [line for line in csv.DictReader(stream) if line.get("train/loss")]
    if not lines:
        return None
    loss = np.array([float(line["train/loss"]) for line in lines])
    steps = np.array([float(line.get("step") or place) for place, line in enumerate(lines)])
    has_tokens = all(line.get("train/tokens") for line in lines)
    tokens = np.array([float(line["train/tokens"]) for line in lines]) if has_tokens else None
    window = max(1, len(loss) // _SMOOTHED)
    sums = np.cumsum(np.concatenate([[0.0], loss]))
    ends = np.arange(1, len(loss) + 1)
    begins = np.maximum(0, ends - window)
    smooth = (sums[ends] - sums[begins]) / (ends - begins)
    kept = np.unique(np.linspace(0, len(loss) - 1, min(len(loss), MAX_POINTS)).round().astype(int))
    return TrainingLoss(steps[kept], None if tokens is None else tokens[kept], smooth[kept])
