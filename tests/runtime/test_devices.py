"""The device of a process: on a machine without GPUs, and on one with several."""

import pytest
import torch

from qurating.runtime.devices import device_of
from qurating.runtime.errors import StageError
from qurating.runtime.shares import Share


@pytest.fixture
def four_gpus(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 4)
    for name in ("LOCAL_RANK", "SLURM_LOCALID"):
        monkeypatch.delenv(name, raising=False)


def test_without_a_gpu_it_is_the_cpu_or_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert device_of("auto", None) == device_of("cpu", Share(1, 2)) == torch.device("cpu")
    with pytest.raises(StageError, match=r"no CUDA device: set trainer\.accelerator=auto or cpu"):
        device_of("gpu", None)


@pytest.mark.usefixtures("four_gpus")
def test_each_process_and_each_share_has_a_gpu_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    assert device_of("cpu", Share(1, 8)) == torch.device("cpu")
    assert device_of("gpu", None) == device_of("cuda", None) == torch.device("cuda", 0)
    assert [device_of("auto", Share(index, 8)).index for index in range(8)] == [0, 1, 2, 3, 0, 1, 2, 3]
    monkeypatch.setenv("SLURM_LOCALID", "2")
    assert device_of("auto", Share(1, 8)) == torch.device("cuda", 2)
    monkeypatch.setenv("LOCAL_RANK", "3")
    assert device_of("auto", None) == torch.device("cuda", 3)


@pytest.mark.usefixtures("four_gpus")
def test_an_unknown_accelerator_is_refused() -> None:
    with pytest.raises(StageError, match=r"unknown accelerator 'tpu': set stages\.x\.accelerator to auto, cpu or gpu"):
        device_of("tpu", None, "stages.x.accelerator")
