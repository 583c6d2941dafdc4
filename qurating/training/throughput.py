"""Tokens per second, utilisation of the device and peak memory of a training."""

import resource
import sys
import time
from typing import Any

import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from pytorch_lightning.loggers import CSVLogger

from qurating.datamodules.tokens import TokenBlocks
from qurating.training.flops import dtype_of_products, flops_per_token, matmul_rate

_SECONDS_BETWEEN = 10.0  # at which a rate is logged


class Throughput(Callback):
    """Logs `train/tokens_per_second` and `train/mfu` to the trackers, and has those of the whole training.

    MFU (model FLOPs utilisation) is what the training computes per second (`flops_per_token`), as a part of what the
    devices compute per second in products of large matrices, of the training's precision (`matmul_rate`).

    It counts what this process has trained on since it began or resumed; checkpoints and held-out points take their
    share of the time. Nothing is written to a file of the artifact: equal trainings have equal files at any speed.

    Args:
        data: the tokens of the training.
    """

    def __init__(self, data: TokenBlocks) -> None:
        self._data = data
        self._begun = self._logged = self._ended = (0.0, 0)  # seconds, tokens trained on by then
        self._step = 0
        self._device, self._dtype = torch.device("cpu"), torch.float32
        self._flops_per_token = 0.0  # on each device

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._device = pl_module.device
        if self._device.type == "cuda":
            torch.cuda.reset_peak_memory_stats(self._device)
        self._dtype = dtype_of_products(str(trainer.precision))
        network: Any = pl_module.network
        self._flops_per_token = flops_per_token(network, self._data.sequence_length) / trainer.world_size
        self._begun = self._logged = self._now(trainer)
        self._step = trainer.global_step

    def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
        if trainer.global_step == self._step:
            return  # one of several passes of the next step
        now, self._step = self._now(trainer), trainer.global_step
        if now[0] - self._logged[0] >= _SECONDS_BETWEEN:
            for logger in trainer.loggers:
                if not isinstance(logger, CSVLogger):
                    rate = _rate(self._logged, now)
                    metrics = {"train/tokens_per_second": rate, "train/mfu": self._mfu(rate)}
                    logger.log_metrics(metrics, trainer.global_step - 1)
            self._logged = now

    def on_train_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self._ended = self._now(trainer)

    def counts(self) -> dict[str, float]:
        """`tokens_per_second` over all devices and `mfu`, absent if this process had no step left to take, and
        `peak_memory_gb`.

        The latter is in 10^9 bytes: on a GPU what was allocated on the first device, otherwise the most that the
        process has held in its life.
        """
        if self._device.type == "cuda":
            num_bytes = float(torch.cuda.max_memory_allocated(self._device))
        else:
            unit = 1 if sys.platform == "darwin" else 1024
            num_bytes = float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit)
        memory = {"peak_memory_gb": round(num_bytes / 1e9, 3)}
        if self._ended[1] == self._begun[1]:
            return memory
        rate = _rate(self._begun, self._ended)
        return {"tokens_per_second": round(rate, 1), "mfu": round(self._mfu(rate), 4), **memory}

    def _mfu(self, tokens_per_second: float) -> float:
        return tokens_per_second * self._flops_per_token / matmul_rate(self._device, self._dtype)

    def _now(self, trainer: pl.Trainer) -> tuple[float, int]:
        tokens = trainer.global_step * self._data.batch_size_sequences * self._data.sequence_length
        return time.perf_counter(), min(tokens, len(self._data.tokens))


def _rate(start: tuple[float, int], end: tuple[float, int]) -> float:
    return (end[1] - start[1]) / (end[0] - start[0])
