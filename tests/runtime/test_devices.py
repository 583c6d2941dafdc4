"""The device that a stage runs on."""

import pytest
import torch

from qurating.runtime.devices import device_of
from qurating.runtime.errors import StageError
from qurating.runtime.shares import Share


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    """Four GPUs, as torch tells of them."""
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    for name in ("LOCAL_RANK", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_gpu_it_is_the_cpu_unless_one_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of("auto", None) == device_of("cpu", Share(1, 2)) == torch.device("cpu")
    with pytest.raises(StageError, match=r"accelerator=gpu, and torch finds no CUDA device: set trainer\.accelerator"):
        device_of("gpu", None)


@pytest.mark.usefixtures("gpus")
def test_processes_and_shares_have_gpus_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_of("cpu", None) == torch.device("cpu")
    assert device_of("auto", None) == torch.device("cuda", 0)
    assert [device_of("gpu", Share(index, 6)).index for index in range(6)] == [0, 1, 2, 3, 0, 1]
    monkeypatch.setenv("SLURM_LOCALID", "2")
    assert device_of("gpu", Share(1, 6)).index == 2
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert device_of("gpu", Share(1, 6)).index == 3
