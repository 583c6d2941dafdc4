"""The processes of one distributed run: torchrun's, or the tasks of a SLURM job."""

import os


def rank() -> int:
    """Of this process; 0 where it is alone."""
    return int(os.environ.get("RANK") or os.environ.get("SLURM_PROCID") or 0)


def num_processes() -> int:
    """Of the run; 1 where this process is alone."""
    return int(os.environ.get("WORLD_SIZE") or os.environ.get("SLURM_NTASKS") or 1)


def run_token() -> str:
    """What the processes of one distributed run, and no others, have in common."""
    keys = ("TORCHELASTIC_RUN_ID", "MASTER_PORT", "SLURM_JOB_ID", "SLURM_RESTART_COUNT")
    return "/".join(os.environ.get(key, "") for key in keys)
