"""What SLURM says, by stand-ins for its programs that print what the real ones print."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from qurating.pipeline.cells import slurm
from qurating.pipeline.cells.slurm import Job

SETTINGS = {"partition": "shrot", "account": "lab", "mem_gb": 900, "gpus_per_node": 16, "timeout_min": 99, "qos": "no"}


@pytest.fixture
def program(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., None]:
    """Makes a program that prints something and ends with an exit status; there are no others of SLURM."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    for real in ("squeue", "sacct", "sinfo", "scontrol", "sacctmgr"):
        (tmp_path / real).write_text("#!/bin/sh\nexit 127\n")
        (tmp_path / real).chmod(0o755)

    def make(name: str, printed: str, status: int = 0, error: str = "") -> None:
        (tmp_path / f"{name}.txt").write_text(printed)
        script = f"#!/bin/sh\necho '{error}' >&2\ncat '{tmp_path}/{name}.txt'\nexit {status}\n"
        (tmp_path / name).write_text(script)

    return make


def test_the_queue_and_the_accounting_together(program: Callable[..., None]) -> None:
    program("squeue", "12_0|RUNNING|None\n12_1|PENDING|Resources\n13|PENDING|Dependency\n")
    program("sacct", "12_[5-8]|PENDING\n12_2|CANCELLED by 0\n12_3|OUT_OF_MEMORY\n")
    assert slurm.jobs({"12_0", "12_1", "12_2", "12_3", "12_4", "13"}) == {
        "12_0": Job("RUNNING"),
        "12_1": Job("PENDING", "Resources"),
        "12_2": Job("CANCELLED by 0"),
        "12_3": Job("OUT_OF_MEMORY"),
        "12_4": Job(slurm.GONE),
        "13": Job("PENDING", "Dependency"),
    }


def test_a_job_that_the_queue_has_forgotten(program: Callable[..., None]) -> None:
    program("squeue", "", 1, "slurm_load_jobs error: Invalid job id specified")
    assert slurm.jobs({"12"}) == {"12": Job(slurm.GONE)}


def test_slurm_that_cannot_be_asked(program: Callable[..., None], monkeypatch: pytest.MonkeyPatch) -> None:
    program("squeue", "", 1, "slurm_load_jobs error: Unable to contact slurm controller (connect failure)")
    assert slurm.jobs({"12"}) is None
    monkeypatch.setenv("PATH", os.devnull)
    assert slurm.jobs({"12"}) is None
    assert slurm.jobs(set()) == {}
    assert slurm.max_array_size() is None


def test_the_longest_array(program: Callable[..., None]) -> None:
    program("scontrol", "MailProg                = /bin/true\nMaxArraySize            = 1001\nMaxJobCount = 10000\n")
    assert slurm.max_array_size() == 1001


@pytest.mark.parametrize(
    ("said", "parts"),
    [
        ("invalid partition specified: shrot", ["hydra.launcher.partition=shrot", "short (at most 1:00:00)"]),
        (
            "Batch job submission failed: Invalid account or account/partition combination specified",
            ["hydra.launcher.account=lab", "lab2|short|"],
        ),
        ("Batch job submission failed: Invalid qos specification", ["hydra.launcher.qos=no", "Your accounts"]),
        (
            "Batch job submission failed: Requested node configuration is not available",
            ["hydra.launcher.mem_gb=900", "hydra.launcher.gpus_per_node=16", "8 CPUs, 7000 MB"],
        ),
        ("Batch job submission failed: Requested time limit is invalid", ["hydra.launcher.timeout_min=99"]),
        (
            "Batch job submission failed: Unable to contact slurm controller (connect failure)",
            ["SLURM does not answer", "hydra/launcher=local"],
        ),
        ("Batch job submission failed: Something new", ["Something new", "hydra.launcher"]),
    ],
)
def test_a_refused_job_names_the_setting(program: Callable[..., None], said: str, parts: list[str]) -> None:
    program("sacctmgr", "lab2|short|\n")
    program("sinfo", "short (at most 1:00:00)\n8 CPUs, 7000 MB, GPUs and the like: gpu:2 (partition main)\n")
    sentence = slurm.refusal(f"sbatch: error: {said}\n", SETTINGS)
    for part in [said.removeprefix("Batch job submission failed: "), *parts]:
        assert part in sentence
    assert "\n" not in sentence


NODES = (
    "a1|short|16|64000|(null)|1:00:00\n"
    "a2|short|16|64000|(null)|1:00:00\n"
    "g1|long*|8|250000|gpu:a100:4(S:0-1),nvme:1|2-00:00:00\n"
    "g2|long*|64|120000|gpu:h100:2|infinite\n"
)


@pytest.mark.parametrize(
    ("settings", "wrong"),
    [
        ({"cpus_per_task": 64}, None),
        ({"cpus_per_task": 33, "tasks_per_node": 2}, "hydra.launcher.cpus_per_task=33 for each of 2 tasks"),
        ({"cpus_per_task": 64, "mem_gb": 117}, None),
        ({"cpus_per_task": 64, "mem_gb": 118}, "hydra.launcher.mem_gb=118"),  # 118 × 1024 > 120,000
        ({"mem_gb": 200, "gpus_per_node": 4}, None),
        ({"gpus_per_node": 5}, "hydra.launcher.gpus_per_node=5"),
        ({"gpus_per_node": 4, "timeout_min": 2880}, None),
        ({"gpus_per_node": 4, "timeout_min": 2881}, "hydra.launcher.timeout_min=2881"),
        ({"gpus_per_node": 2, "timeout_min": 99999}, None),
        ({"nodes": 2}, None),
        ({"nodes": 2, "cpus_per_task": 9}, "hydra.launcher.nodes=2: 1 are large enough"),
    ],
)
def test_a_cell_larger_than_every_node(
    program: Callable[..., None], settings: dict[str, object], wrong: str | None
) -> None:
    """Of the default partition, which has a star."""
    program("sinfo", NODES)
    found = slurm.too_large(settings)
    assert found is None if wrong is None else found and found.startswith(wrong)


def test_sizes_in_a_partition_by_name(program: Callable[..., None]) -> None:
    program("sinfo", "\n".join(NODES.splitlines()[:2]))  # as sinfo --partition=short
    assert slurm.too_large({"partition": "short", "timeout_min": 60, "cpus_per_task": 16}) is None
    assert "timeout_min=61" in (slurm.too_large({"partition": "short", "timeout_min": 61}) or "")
    program("sinfo", "")  # no such partition: sbatch says so
    assert slurm.too_large({"partition": "shrot", "cpus_per_task": 99}) is None


@pytest.mark.parametrize(
    ("limit", "minutes"), [("30:00", 30), ("2:30:00", 150), ("1-02:30:00", 1590), ("infinite", float("inf"))]
)
def test_limits_of_time(limit: str, minutes: float) -> None:
    assert slurm._minutes(limit) == minutes
