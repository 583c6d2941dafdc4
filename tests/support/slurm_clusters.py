"""Real SLURMs for tests: the one that CI starts, and one of a test's own, with settings of its own."""

import contextlib
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from ports import free_port
from repository import ROOT

IS_REQUIRED = bool(os.environ.get("QURATING_REQUIRE_SLURM"))
TOOLS = Path(os.environ.get("SLURM_TOOLS") or ROOT.parent / "shared/slurm")  # as in .ci/run

if IS_REQUIRED:
    assert shutil.which("sbatch"), "QURATING_REQUIRE_SLURM is set, and there is no sbatch"
    assert os.environ.get("SLURM_CONF"), "QURATING_REQUIRE_SLURM is set, and SLURM_CONF is not"

needs_cluster = pytest.mark.skipif(
    not (shutil.which("sbatch") and os.environ.get("SLURM_CONF")),
    reason="needs SLURM: no sbatch, or no cluster named in SLURM_CONF (CI starts one)",
)
needs_own_cluster = pytest.mark.skipif(
    not IS_REQUIRED and not (shutil.which("slurmctld") and (TOOLS / "slurm-up").is_file() and os.geteuid() == 0),
    reason="needs to start a SLURM of its own: as root, with slurmctld, and slurm-up in the folder SLURM_TOOLS",
)


def outside_of_jobs() -> dict[str, str]:
    """The environment with no variable of SLURM but the cluster's: a test run inside a job must not hand them on."""
    return {key: value for key, value in os.environ.items() if not key.startswith("SLURM_") or key == "SLURM_CONF"}


@contextlib.contextmanager
def own_cluster(settings: str) -> Iterator[str]:
    """Start a one-node SLURM of two CPUs, without accounting; yields the path of its configuration.

    Args:
        settings: lines of slurm.conf; NODE stands for the name of the node.
    """
    folder = Path(tempfile.mkdtemp(prefix="su", dir="/tmp"))  # short, because of the sockets in it
    node = subprocess.run(["hostname", "-s"], capture_output=True, text=True, check=True).stdout.strip()
    given = {
        "DIR": str(folder),
        "PORT": str(free_port()),
        "CPUS": "2",
        "ACCT": "0",
        "CONF": settings.replace("NODE", node),
    }
    environment = os.environ | {f"SLURM_UP_{key}": value for key, value in given.items()}
    try:
        up = subprocess.run(
            ["bash", str(TOOLS / "slurm-up")], env=environment, capture_output=True, text=True, timeout=900
        )
        assert up.returncode == 0, up.stderr
        yield str(folder / "slurm.conf")
    finally:
        down = ["bash", str(TOOLS / "slurm-down"), "--purge"]
        subprocess.run(down, env=environment, capture_output=True, text=True, timeout=900)
