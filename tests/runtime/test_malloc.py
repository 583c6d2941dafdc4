"""Memory kept from pass to pass, seen in page faults; in separate processes, because the setting is per process."""

import json
import os
import platform
import subprocess
import sys

import pytest

PASSES = """
import ctypes, json, resource, sys, threading
import torch
from qurating.runtime.malloc import keep_freed_memory

def faults():
    before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    for _ in range(10):
        kept = [torch.empty(12_000_000).fill_(1.0) for _ in range(2)]  # 48 MB each
        del kept
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before

def resident_mb():
    return int(open("/proc/self/statm").read().split()[1]) * 4096 / 2**20

torch.set_num_threads(1)
found = {"before": faults()}
with keep_freed_memory(torch.device(sys.argv[1])):
    faults()
    found["within"] = faults()
    large = []
    thread = threading.Thread(target=lambda: large.append(torch.ones(50_000_000)))  # more than a thread's own heap
    thread.start()
    thread.join()
    found["of_a_thread"] = float(large.pop().sum())
    found["mb_within"] = resident_mb()
found["mb_after"] = resident_mb()
found["after"] = faults()
print(json.dumps(found))
"""


def passes(device: str, **variables: str) -> dict[str, float]:
    environment = {key: value for key, value in os.environ.items() if not key.startswith(("MALLOC_", "GLIBC_"))}
    done = subprocess.run(
        [sys.executable, "-c", PASSES, device], env=environment | variables, capture_output=True, text=True, check=True
    )
    return dict(json.loads(done.stdout))


on_glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc's malloc")


@on_glibc
def test_a_pass_asks_the_system_for_no_pages_that_the_pass_before_had() -> None:
    found = passes("cpu")
    assert found["before"] > 400  # 10 passes of 96 MB are 245,000 pages of 4 KB, or 480 of 2 MB
    assert found["within"] < found["before"] / 20
    assert found["of_a_thread"] == 50_000_000
    assert found["mb_after"] < found["mb_within"] - 80  # given back at the end
    assert found["after"] > found["before"] / 4


@on_glibc
@pytest.mark.parametrize(("device", "variables"), [("cuda", {}), ("cpu", {"MALLOC_MMAP_THRESHOLD_": "1000000"})])
def test_another_device_and_what_the_user_set_are_left_alone(device: str, variables: dict[str, str]) -> None:
    found = passes(device, **variables)
    assert found["within"] > found["before"] / 4
