"""What is used of torch, Lightning and transformers beyond their documented interfaces: all of it is here.

A new release may change it without a word. `CHECKED` has the versions that it was last looked at with.
"""

from typing import Any

import torch

CHECKED = {"torch": "2.13.0", "pytorch-lightning": "2.6.6", "transformers": "5.23.0"}


def prepare_compilation() -> None:
    """Settings of `torch.compile`, for the whole process, under which networks compile once and without a helper."""
    # a network's numbers (epsilons, scales) stay as they are: taken for variables, all is traced and compiled twice
    torch._dynamo.config.specialize_float = True
    # or a process of its own imports torch to see whether what is compiled can be loaded; the first call sees it anyway
    torch._inductor.config.cpp.vec_isa_ok = True


def layer_classes(network: torch.nn.Module) -> set[str]:
    """Names of the classes of a transformers model's layers, each of which stays whole on one device."""
    return set(getattr(network, "_no_split_modules", None) or [])


def process_rank() -> int:
    """This process' number among those of a distributed run, before there is a trainer; 0 if it is alone."""
    from pytorch_lightning.utilities import rank_zero_only

    return int(rank_zero_only.rank)


def set_passes(trainer: Any, passes_per_step: int, validate_every_steps: int | None) -> None:
    """Set what a Lightning trainer is documented to take when it is made, before it knows the number of devices."""
    trainer.accumulate_grad_batches = passes_per_step
    if validate_every_steps:
        trainer.val_check_interval = validate_every_steps * passes_per_step


def recount_passes(checkpoint: dict[str, Any], then: int, now: int) -> None:
    """Lightning counts forward passes: recount them in a checkpoint, where a step takes `now` in place of `then`."""
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    for counts in (progress["total"], progress["current"]):
        begun = counts["ready"]  # whole steps; the last pass is not counted as completed yet
        counts |= {key: begun * now // then - (begun - number) for key, number in counts.items()}
