"""The processes of one distributed run: torchrun's, or the tasks of a SLURM job; the cores that they may use."""

import os


def rank() -> int:
    """The rank of this process; 0 if it is alone."""
    return int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or 0)


def num_processes() -> int:
    """The number of processes of the run; 1 if this process is alone."""
    return int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or 1)


def run_token() -> str:
    """A string that all processes of one distributed run share, and that no other run has."""
    keys = ("TORCHELASTIC_RUN_ID", "MASTER_PORT", "SLURM_JOB_ID", "SLURM_RESTART_COUNT")
    return "/".join(os.environ.get(key, "") for key in keys)


def usable_cores() -> int:
    """The number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
