"""The loss on held-out text along a training: `curve.parquet`."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import CSVLogger

from qurating.artifacts.files import write_table
from qurating.metrics import perplexity
from qurating.models.heldout import HeldOut, sequence_nll
from qurating.runtime.errors import StageError

FIRST_POINT = 0.01  # of all tokens; earlier losses are those of the warm-up
SCHEMA = pa.schema(
    {
        "step": pa.int64(),
        "tokens": pa.int64(),
        "domain": pa.string(),
        "nats_per_token": pa.float64(),
        "num_tokens": pa.int64(),
    }
)

Row = tuple[int, int, str, float, int]


class HeldOutLoss(Callback):
    """Measures the loss on held-out sequences after given steps, overall and by domain.

    Each sequence is read on its own after one end-of-text token, in float32, as `evaluate` does; training is the same
    with and without this. The rows so far are part of every checkpoint. All devices share the batches and get the same
    rows.

    Args:
        heldout: sequences to predict.
        points: optimizer step -> tokens trained on by its end, see `steps_of_points`.
        eos_token_id: read before each sequence.
        batch_size_sequences: sequences per forward pass on one device; changes the rows by rounding alone.
    """

    def __init__(
        self, heldout: HeldOut, points: Mapping[int, int], eos_token_id: int, batch_size_sequences: int
    ) -> None:
        self.heldout = heldout
        self.points = points
        self.eos_token_id = eos_token_id
        self.batch_size_sequences = batch_size_sequences
        self.rows: list[Row] = []

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        step = trainer.global_step
        # the passes of the next step come before it counts as taken
        if step not in self.points or (self.rows and self.rows[-1][0] >= step):
            return
        found = self._losses(trainer, pl_module)
        self.rows += [(step, self.points[step], domain, nats, count) for domain, nats, count in found]
        logged = {"heldout/nats_per_token" + (f"/{domain}" if domain else ""): nats for domain, nats, _ in found}
        for logger in trainer.loggers:
            if not isinstance(logger, CSVLogger):  # `metrics.csv` has the training's own metrics
                logger.log_metrics(logged, step=step - 1)  # Lightning counts steps from 0

    def _losses(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> list[tuple[str, float, int]]:
        """(domain, nats per token, tokens) of the current weights; first of all domains, with an empty name."""
        network: Any = pl_module.network
        was_training = network.training
        network.eval()
        own = sequence_nll(
            network,
            self.heldout.input_ids,
            self.heldout.starts,
            self.eos_token_id,
            self.batch_size_sequences,
            "32-true",
            share=trainer.global_rank,
            num_shares=trainer.world_size,
            show_progress=False,
        )
        network.train(was_training)
        # each sequence was computed on one device, and is 0 on the others
        nll = trainer.strategy.reduce(torch.from_numpy(own).to(pl_module.device), reduce_op="sum").cpu().numpy()
        if bad := int((~np.isfinite(nll)).sum()):
            raise StageError(
                f"the held-out loss is not finite on {bad} of {len(nll)} sequences after step {trainer.global_step}: "
                "the training has diverged; lower model.optimizer.lr"
            )
        rows = self.heldout.rows
        measured = perplexity.metrics(
            perplexity.by_document(
                rows["document_id"].to_numpy(zero_copy_only=False),
                rows["domain"].to_numpy(zero_copy_only=False),
                nll,
                rows["num_tokens"].to_numpy(),
                rows["num_bytes"].to_numpy(),
            )
        )
        named = {"": measured["overall"], **measured["domains"]}
        return [
            (name, each["nats_per_token"], each["num_tokens"]) for name, each in named.items() if each["num_tokens"]
        ]

    def state_dict(self) -> dict[str, Any]:
        return {"rows": [list(row) for row in self.rows]}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.rows = [(step, tokens, domain, nats, count) for step, tokens, domain, nats, count in state_dict["rows"]]

    def write(self, path: Path) -> dict[str, Any]:
        """Write the rows as `curve.parquet` (columns: SCHEMA), and return the last loss, for the manifest's counts."""
        columns = dict(zip(SCHEMA.names, map(list, zip(*self.rows, strict=True)), strict=True))
        write_table(path, pa.table(columns, SCHEMA))
        last = [row for row in self.rows if not row[2]][-1]
        return {"heldout_nats_per_token": last[3], "heldout_tokens": last[4]}


def steps_of_points(points: int | Sequence[float] | None, num_tokens: int, tokens_per_step: int) -> dict[int, int]:
    """The optimizer steps after which the held-out loss is measured, and the tokens trained on by their ends.

    Args:
        points: how many, spaced evenly in log tokens from FIRST_POINT of all tokens to all; or numbers of tokens, to
            which the end is added. A point is the first whole step that reaches its tokens, the last step at most;
            points that fall on one step count once. None or 0: no point.
        num_tokens: of the whole training.
        tokens_per_step: of a full step; the last step may be shorter.

    Raises:
        StageError: points that are no numbers of tokens, or not a number of points.
    """
    if points is None or points == 0:
        return {}
    if isinstance(points, int) and not isinstance(points, bool) and points > 0:
        places = np.linspace(0.0, 1.0, points) if points > 1 else np.ones(1)
        wanted: list[float] = (num_tokens * FIRST_POINT ** (1.0 - places)).tolist()
    elif isinstance(points, Sequence) and all(isinstance(each, int | float) and each > 0 for each in points):
        wanted = [*map(float, points), float(num_tokens)]
    else:
        raise StageError(
            f"model.heldout_points={points}: it is a number of points (0: none), or a list of numbers of tokens"
        )
    last = math.ceil(num_tokens / tokens_per_step)
    steps = sorted({min(last, max(1, math.ceil(tokens / tokens_per_step))) for tokens in wanted})
    return {step: min(step * tokens_per_step, num_tokens) for step in steps}
