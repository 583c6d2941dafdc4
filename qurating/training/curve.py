"""Measures the loss on held-out documents along a training, for `curve.parquet`."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import CSVLogger
from torch import Tensor

from qurating.artifacts.files import write_table
from qurating.metrics.loss_curve import SCHEMA, Point, point
from qurating.metrics.perplexity import Documents, by_document
from qurating.models.heldout import HeldOut, sequence_nll
from qurating.models.language_model import LanguageModel
from qurating.runtime.errors import StageError

FIRST_POINT = 0.01  # of all tokens; earlier losses are those of the warm-up


class HeldOutLoss(Callback):
    """Measures the loss on held-out sequences after given steps, document by document.

    Each sequence is read on its own after one end-of-text token, in float32, as `evaluate` does; training is the same
    with and without this. The losses so far are part of every checkpoint, 8 bytes per point and document. All devices
    share the batches and get the same losses.

    Args:
        heldout: sequences to predict.
        points: optimizer step -> tokens trained on by its end, see `steps_of_points`.
        eos_token_id: read before each sequence.
        batch_size_sequences: sequences per forward pass on one device; changes the losses by rounding alone.
    """

    def __init__(
        self, heldout: HeldOut, points: Mapping[int, int], eos_token_id: int, batch_size_sequences: int
    ) -> None:
        self.heldout = heldout
        self.points = points
        self.eos_token_id = eos_token_id
        self.batch_size_sequences = batch_size_sequences
        # of what was measured: step -> nats of each document, float64, in the order of `Documents`
        self.nll_nats: dict[int, Tensor] = {}
        self._documents = self._by_document(np.zeros(len(heldout.rows)))

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        for step in sorted(self.nll_nats):  # of a resumed training: a tracker may lack what it got just before a kill
            self._show(trainer, step)

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule, *_: Any) -> None:
        step = trainer.global_step
        # the passes of the next step come before it counts as taken
        if step not in self.points or step in self.nll_nats:
            return
        assert isinstance(pl_module, LanguageModel)
        self.nll_nats[step] = torch.from_numpy(self._by_document(self._measure(trainer, pl_module)).nll_nats)
        self._show(trainer, step)

    def _show(self, trainer: pl.Trainer, step: int) -> None:
        """Send a point to the trackers."""
        found = self._point(step)
        logged = {"heldout/nats_per_token": found.nats_per_token, "heldout/tokens": float(found.tokens)}
        logged |= {f"heldout/nats_per_token/{domain}": nats for domain, nats in found.domains.items()}
        for logger in trainer.loggers:
            if not isinstance(logger, CSVLogger):  # `metrics.csv` has the training's own metrics
                logger.log_metrics(logged, step=step - 1)  # Lightning counts steps from 0

    def _measure(self, trainer: pl.Trainer, pl_module: LanguageModel) -> npt.NDArray[np.float64]:
        """Nats of each sequence (N,) under the current weights."""
        network: Any = pl_module.network
        was_training = network.training
        network.eval()
        with pl_module.uncompiled():
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
        shared = trainer.strategy.reduce(torch.from_numpy(own).to(pl_module.device), reduce_op="sum")
        nll: npt.NDArray[np.float64] = shared.cpu().numpy()
        if bad := int((~np.isfinite(nll)).sum()):
            raise StageError(
                f"the held-out loss is not finite on {bad} of {len(nll)} sequences after step {trainer.global_step}: "
                "the training has diverged; lower model.optimizer.lr"
            )
        return nll

    def _by_document(self, nll_nats: npt.NDArray[np.float64]) -> Documents:
        ids, domains, num_tokens, num_bytes = (
            self.heldout.rows[name].to_numpy() for name in ("document_id", "domain", "num_tokens", "num_bytes")
        )
        return by_document(ids, domains, nll_nats, num_tokens, num_bytes)

    def _point(self, step: int) -> Point:
        documents = dataclasses.replace(self._documents, nll_nats=self.nll_nats[step].numpy())
        return point(step, self.points[step], documents)

    def state_dict(self) -> dict[str, Any]:
        return {"nll_nats": dict(self.nll_nats)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        self.nll_nats = dict(state_dict["nll_nats"])

    def table(self) -> pa.Table:
        """What was measured so far, one row per point and document: SCHEMA, sorted by step, domain and document."""
        documents, rows = self._documents, []
        for step, nll_nats in self.nll_nats.items():
            size = len(nll_nats)
            rows.append(
                {
                    "step": np.full(size, step),
                    "tokens": np.full(size, self.points[step]),
                    "document_id": documents.ids,
                    "domain": documents.domains,
                    "nll_nats": nll_nats.numpy(),
                    "num_tokens": documents.num_tokens,
                    "num_bytes": documents.num_bytes,
                }
            )
        return pa.concat_tables([pa.table(columns, SCHEMA) for columns in rows])

    def write(self, path: Path) -> dict[str, Any]:
        """Write `table` as `curve.parquet`, and return the last loss, for the manifest's counts."""
        write_table(path, self.table())
        last = self._point(max(self.nll_nats))
        return {"heldout_nats_per_token": last.nats_per_token, "heldout_tokens": last.num_tokens}


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
            f"model.heldout_points={points}: it is a number of points (0: none), and model.heldout_at_tokens a list of "
            "numbers of tokens"
        )
    last = math.ceil(num_tokens / tokens_per_step)
    steps = sorted({min(last, max(1, math.ceil(tokens / tokens_per_step))) for tokens in wanted})
    return {step: min(step * tokens_per_step, num_tokens) for step in steps}
