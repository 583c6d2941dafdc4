"""The processes of a distributed run, as torchrun and SLURM tell of them."""

import pytest

from qurating.runtime.processes import num_processes, rank, run_token

VARIABLES = ("RANK", "WORLD_SIZE", "SLURM_PROCID", "SLURM_NTASKS", "SLURM_JOB_ID", "MASTER_PORT", "TORCHELASTIC_RUN_ID")


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in VARIABLES:
        monkeypatch.delenv(name, raising=False)


def test_a_process_without_a_launcher_is_alone() -> None:
    assert (rank(), num_processes()) == (0, 1)


def test_torchrun_comes_before_slurm(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in {"SLURM_PROCID": "3", "SLURM_NTASKS": "4"}.items():
        monkeypatch.setenv(name, value)
    assert (rank(), num_processes()) == (3, 4)
    for name, value in {"RANK": "1", "WORLD_SIZE": "2"}.items():
        monkeypatch.setenv(name, value)
    assert (rank(), num_processes()) == (1, 2)


def test_runs_are_told_apart(monkeypatch: pytest.MonkeyPatch) -> None:
    tokens = [run_token()]
    for name in ("SLURM_JOB_ID", "MASTER_PORT", "TORCHELASTIC_RUN_ID"):
        monkeypatch.setenv(name, "7")
        tokens.append(run_token())
    assert len(set(tokens)) == 4
    assert run_token() == tokens[-1]
