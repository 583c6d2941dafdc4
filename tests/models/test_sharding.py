"""Weights shared out over two processes: parts of a network, called as the whole."""

import functools
from pathlib import Path
from typing import Any

import torch
from torch.distributed import destroy_process_group, init_process_group
from torch.distributed.device_mesh import init_device_mesh
from training_example import a_model
from two_processes import run_in_two

from qurating.models import sharding
from qurating.models.linear_cross_entropy import summed_cross_entropy

IDS = torch.arange(1, 13).view(2, 6)


def loss_of_parts(network: Any) -> torch.Tensor:
    def summed(ids: torch.Tensor) -> torch.Tensor:
        states = network.base_model(input_ids=ids).last_hidden_state[:, :-1]
        return summed_cross_entropy(network.get_output_embeddings(), states.flatten(0, 1), ids[:, 1:].flatten())

    return sharding.whole(network, summed, IDS)


def shared_out(rank: int, folder: Path) -> None:
    init_process_group("gloo")
    network: Any = a_model(tie_word_embeddings=True).network
    mesh = init_device_mesh("cpu", (1, 2), mesh_dim_names=("data_parallel", "tensor_parallel"))
    sharding.shard(network, mesh)
    sharding.shard(network, mesh)  # once is enough
    assert sharding.is_sharded(network)
    held = sum(parameter.to_local().numel() for parameter in network.parameters())
    loss = loss_of_parts(network)
    loss.backward()
    gradients = [parameter.grad.full_tensor() for parameter in network.parameters()]
    torch.save({"loss": loss.detach(), "gradients": gradients, "held": held}, folder / f"{rank}.pt")
    destroy_process_group()


def test_a_loss_of_parts_of_a_sharded_network_is_that_of_the_whole(tmp_path: Path) -> None:
    network = a_model(tie_word_embeddings=True).network
    sharding.shard(network, None)
    assert not sharding.is_sharded(network)
    loss = loss_of_parts(network)
    loss.backward()
    assert run_in_two(functools.partial(shared_out, folder=tmp_path)) == [0, 0]
    for found in (torch.load(tmp_path / f"{rank}.pt") for rank in range(2)):
        assert torch.allclose(found["loss"], loss, rtol=1e-6)
        for ours, parameter in zip(found["gradients"], network.parameters(), strict=True):
            assert parameter.grad is not None
            assert torch.allclose(ours, parameter.grad, rtol=1e-5, atol=1e-6)
        assert found["held"] == network.num_parameters() / 2
