"""The device that a stage runs on."""

import os

import torch

from qurating.runtime.errors import StageError
from qurating.runtime.shares import Share


def device_of(accelerator: str, share: Share | None) -> torch.device:
    """The device that `auto`, `cpu` or `gpu` stands for; of several GPUs each process, or share, has its own.

    Raises:
        StageError: a GPU is asked for, and there is none.
    """
    if accelerator == "gpu" and not torch.cuda.is_available():
        raise StageError("accelerator=gpu, and torch finds no CUDA device: set trainer.accelerator=auto or cpu")
    if accelerator == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    number = int(os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or (share.index if share else 0))
    return torch.device("cuda", number % torch.cuda.device_count())
