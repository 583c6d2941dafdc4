"""The machine of this process, and the CPU time that it has used: what a plan estimates later runs by."""

import os
import platform
import sys
from pathlib import Path
from typing import Any

from qurating.runtime.processes import usable_cores


def description() -> dict[str, Any]:
    """The processor, the number of cores of this process, and the GPU that it uses (None without one)."""
    return {"processor": _processor(), "cores": usable_cores(), "gpu": _gpu()}


def cpu_seconds() -> float:
    """User and system time of this process so far, and of its children that have ended."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _processor() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # not Linux
        lines = []
    names = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()


def _gpu() -> str | None:
    torch: Any = sys.modules.get("torch")  # a process without torch has used none
    if torch is None or not torch.cuda.is_available() or not torch.cuda.is_initialized():
        return None
    return str(torch.cuda.get_device_name())
