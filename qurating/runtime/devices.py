"""The device that a stage runs on."""

import os

import torch

from qurating.runtime.errors import StageError
from qurating.runtime.shares import Share


def device_of(accelerator: str, share: Share | None, setting: str = "trainer.accelerator") -> torch.device:
    """The device for an accelerator setting; with several GPUs, each process or share has its own.

    Args:
        accelerator: auto, cpu or gpu (Lightning also accepts cuda).
        setting: name of the accelerator setting, for errors.

    Raises:
        StageError: an unknown accelerator; a GPU is requested, and torch finds none.
    """
    if accelerator not in ("auto", "cpu", "gpu", "cuda"):
        raise StageError(f"unknown accelerator {accelerator!r}: set {setting} to auto, cpu or gpu")
    if accelerator in ("gpu", "cuda") and not torch.cuda.is_available():
        raise StageError(f"accelerator={accelerator}, but torch finds no CUDA device: set {setting}=auto or cpu")
    if accelerator == "cpu" or not torch.cuda.is_available():
        return torch.device("cpu")
    number = int(os.environ.get("LOCAL_RANK") or os.environ.get("SLURM_LOCALID") or (share.index if share else 0))
    return torch.device("cuda", number % torch.cuda.device_count())
