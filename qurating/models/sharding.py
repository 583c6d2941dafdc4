"""Weights sharded over the devices of a training (FSDP2)."""

from collections.abc import Callable
from typing import Any, TypeVar

from torch import nn
from torch.distributed.device_mesh import DeviceMesh
from torch.distributed.fsdp import FSDPModule, fully_shard, register_fsdp_forward_method

from qurating.runtime import internals

Result = TypeVar("Result")


def shard(network: nn.Module, mesh: DeviceMesh | None) -> None:
    """Shard the layers and the remaining weights of a network in place, once.

    Args:
        network: of transformers.
        mesh: (machines, devices per machine): weights are sharded within a machine, replicated across machines. None,
            where the strategy is not ModelParallelStrategy, shards nothing.
    """
    if mesh is None or is_sharded(network):
        return
    layers = internals.layer_classes(network)
    for module in network.modules():
        if type(module).__name__ in layers:
            fully_shard(module, mesh=mesh)
    root: Any = fully_shard(network, mesh=mesh)
    root.whole = lambda function, *arguments: function(*arguments)
    register_fsdp_forward_method(root, "whole")


def is_sharded(network: nn.Module) -> bool:
    """Whether `shard` has sharded a network; its parameters do not tell, since some stay whole after a forward pass."""
    return isinstance(network, FSDPModule)


def whole(network: nn.Module, function: Callable[..., Result], *arguments: Any) -> Result:
    """Call a function that uses parts of a network, such as its head, as one forward pass of the network.

    The weights outside of the layers are gathered for it, which happens by itself only where the network is called.
    All devices must call this the same number of times.
    """
    if not isinstance(network, FSDPModule):
        return function(*arguments)
    made: Any = network
    result: Result = made.whole(function, *arguments)
    return result
