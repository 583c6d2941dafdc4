"""Two processes of one distributed run, as torchrun starts them."""

import multiprocessing
import os
from collections.abc import Callable
from multiprocessing.context import BaseContext
from typing import Any

import torch
from ports import free_port


def _one_of_two(rank: int, port: int, target: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    torch.set_num_threads(1)
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": "2",
        "LOCAL_WORLD_SIZE": "2",
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "TORCHELASTIC_RUN_ID": "test",
    }
    target(rank, *arguments)


def run_in_two(target: Callable[..., None], *arguments: Any, context: BaseContext | None = None) -> list[int | None]:
    """Call `target(rank, *arguments)` in two processes of one run, forks by default; returns their exit codes."""
    made: Any = context or multiprocessing.get_context("fork")
    port = free_port()
    children = [made.Process(target=_one_of_two, args=(rank, port, target, arguments)) for rank in range(2)]
    for child in children:
        child.start()
    for child in children:
        child.join()
    return [child.exitcode for child in children]
