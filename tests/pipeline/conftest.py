"""One run of the main job, which several files of tests read."""

import os
import shutil
from pathlib import Path

import filelock
import pytest
from whole_runs import run


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """Two cells, uniform and top-k, run to the end: the folder of their artifacts, and what was printed.

    One process of a parallel test run makes them for all. Only the tests of test_run.py may run commands there.
    """
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "finished"
    artifacts, printed = folder / "artifacts", folder / "printed.txt"
    with filelock.FileLock(f"{folder}.lock"):
        if not printed.exists():
            text = run(artifacts, "selection=uniform,top_k", "logger=wandb")
            shutil.copytree(artifacts, folder / "untouched", ignore=shutil.ignore_patterns("outputs", "sweep", "wandb"))
            printed.write_text(text, encoding="utf-8")
    return artifacts, printed.read_text(encoding="utf-8")


@pytest.fixture(scope="session")
def untouched(finished: tuple[Path, str]) -> Path:
    """The artifacts as the run has left them: a test that changes or adds to them copies them first."""
    return finished[0].with_name("untouched")
