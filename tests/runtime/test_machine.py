"""The machine of a process, and the CPU time that it and its children have used."""

import os
import subprocess
import sys
from types import SimpleNamespace
from typing import Any

import pytest

from qurating.runtime import machine


def test_the_description_has_the_processor_and_the_cores_of_this_process() -> None:
    found = machine.description()
    assert found["processor"]
    assert 1 <= found["cores"] <= (os.cpu_count() or 1)


def test_cpu_seconds_count_this_process_and_its_children() -> None:
    work = "sum(i * i for i in range(3_000_000))"
    before = machine.cpu_seconds()
    eval(work)
    own = machine.cpu_seconds() - before
    assert own > 0
    before, beside = machine.cpu_seconds(), os.times()
    subprocess.run([sys.executable, "-c", work], check=True)
    with_child, after = machine.cpu_seconds() - before, os.times()
    child = after.children_user - beside.children_user
    assert child > 0
    assert with_child > child - 0.001  # sums of floats, rounded differently; the clock counts in hundredths


def test_a_gpu_counts_once_torch_uses_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def cuda(is_used: bool) -> Any:
        of = {"is_available": lambda: True, "is_initialized": lambda: is_used, "get_device_name": lambda: "NVIDIA H200"}
        return SimpleNamespace(cuda=SimpleNamespace(**of))

    monkeypatch.setitem(sys.modules, "torch", cuda(is_used=True))
    assert machine.description()["gpu"] == "NVIDIA H200"
    monkeypatch.setitem(sys.modules, "torch", cuda(is_used=False))
    assert machine.description()["gpu"] is None
    monkeypatch.delitem(sys.modules, "torch")
    assert machine.description()["gpu"] is None
