"""All uses of undocumented interfaces of torch, Lightning, transformers, wandb and wandb-workspaces.

A new release may change them without notice. `CHECKED` has the versions with which they were last checked.
"""

from typing import Any

import torch

CHECKED = {
    "torch": "2.13.0",
    "pytorch-lightning": "2.6.6",
    "transformers": "5.23.0",
    "wandb": "0.31.0",
    "wandb-workspaces": "0.4.13",
}


def prepare_compilation() -> None:
    """Set up `torch.compile` for the whole process: networks compile once, and without a helper process."""
    # the numbers of a network (epsilons, scales) are constants: as variables, everything is traced and compiled twice
    torch._dynamo.config.specialize_float = True
    # else a helper process imports torch to check that compiled code can be loaded; the first call checks it anyway
    torch._inductor.config.cpp.vec_isa_ok = True


def layer_classes(network: torch.nn.Module) -> set[str]:
    """Class names of the layers of a transformers model; each layer stays whole on one device."""
    return set(getattr(network, "_no_split_modules", None) or [])


def set_passes(trainer: Any, passes_per_step: int, validate_every_steps: int | None) -> None:
    """Set two documented constructor arguments of a Lightning trainer later, when the number of devices is known."""
    trainer.accumulate_grad_batches = passes_per_step
    if validate_every_steps:
        trainer.val_check_interval = validate_every_steps * passes_per_step


def recount_passes(checkpoint: dict[str, Any], then: int, now: int) -> None:
    """Recount the forward passes in a Lightning checkpoint, for `now` passes per step instead of `then`."""
    progress = checkpoint["loops"]["fit_loop"]["epoch_loop.batch_progress"]
    for counts in (progress["total"], progress["current"]):
        begun = counts["ready"]  # whole steps; the last pass is not counted as completed yet
        counts |= {key: begun * now // then - (begun - number) for key, number in counts.items()}


def number_as_in_module(
    state: dict[str, Any], optimizer: torch.optim.Optimizer, module: torch.nn.Module
) -> dict[str, Any]:
    """Number the parameters of an optimizer's state by their places in the module, as Lightning numbers sharded ones.

    torch numbers them by their places in the groups, and reads both: so a checkpoint can be read with and without
    sharded weights.
    """
    place = {id(parameter): number for number, parameter in enumerate(module.parameters())}
    numbers = [place[id(parameter)] for group in optimizer.param_groups for parameter in group["params"]]
    groups = [group | {"params": [numbers[old] for old in group["params"]]} for group in state["param_groups"]]
    return state | {"state": {numbers[old]: held for old, held in state["state"].items()}, "param_groups": groups}


def clippable(optimizer: torch.optim.Optimizer) -> torch.optim.Optimizer:
    """Let Lightning clip the gradients of a fused optimizer in mixed precision; returns the optimizer.

    Fused optimizers say that they undo the scale of gradients themselves, whereupon Lightning refuses to clip. This is
    for trainings that do not scale gradients, as with bfloat16.
    """
    if hasattr(optimizer, "_step_supports_amp_scaling"):
        optimizer._step_supports_amp_scaling = False
    return optimizer


def log_wandb_artifact(run: Any, artifact: Any, is_input: bool) -> None:
    """Log an artifact of Weights & Biases as an output of a run, or as its input.

    `use_artifact` refuses to work offline, and otherwise waits for the server.
    """
    run._log_artifact(artifact, is_user_created=True, use_after_commit=is_input)


def wandb_definition(made: Any) -> dict[str, Any]:
    """A workspace or report of Weights & Biases as JSON, in the form in which the client sends it."""
    found: dict[str, Any] = made._to_model().model_dump(mode="json", by_alias=True, exclude_none=True)
    return found
