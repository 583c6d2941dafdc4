"""Several processes at once, of which one is killed: what the others do, and what the same command does afterwards."""

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from repository import ROOT

SMALL = ["scale=smoke", "corpus.reader.max_characters_per_domain=60_000", "num_workers=1"]
STAGES = ["hydra.mode=RUN", "stage=[prepare_corpus,judge,train_rater,rate]"]


def start(artifacts: Path, log: Path, *arguments: str) -> subprocess.Popen[bytes]:
    places = [f"paths.artifacts={artifacts}", f"hydra.run.dir={log}-outputs", f"hydra.sweep.dir={log}-sweep"]
    with open(log, "wb") as output:
        return subprocess.Popen(
            [sys.executable, "run.py", *SMALL, *places, *arguments],
            stdout=output,
            stderr=subprocess.STDOUT,
            cwd=ROOT,
            start_new_session=True,
        )


def wait_for(log: Path, text: str, task: subprocess.Popen[bytes]) -> None:
    started = time.monotonic()
    while text not in log.read_text(encoding="utf-8"):
        assert task.poll() is None, log.read_text(encoding="utf-8")
        assert time.monotonic() - started < 900, f"no {text!r}: {log.read_text(encoding='utf-8')}"
        time.sleep(0.05)


def stop_while_it_builds(task: subprocess.Popen[bytes], artifacts: Path) -> None:
    """Stop a process at a moment at which it holds the lock of an artifact: then a plan lies next to the artifact."""
    os.kill(task.pid, signal.SIGSTOP)
    while not list(artifacts.glob("*/.*.plan.json")):
        os.kill(task.pid, signal.SIGCONT)
        time.sleep(0.05)
        assert task.poll() is None
        os.kill(task.pid, signal.SIGSTOP)


def fingerprints(artifacts: Path) -> dict[str, str]:
    found = (json.loads(file.read_text(encoding="utf-8")) for file in artifacts.glob("*/[!.]*/manifest.json"))
    return {made["name"]: made["fingerprint"] for made in found}


def leftovers(artifacts: Path) -> list[str]:
    """What lies beside the artifacts, but for locks and the memory of compared files."""
    hidden = artifacts.glob("*/.*")
    return [file.name for file in hidden if not file.name.endswith((".lock", ".checked.json"))]


@pytest.fixture(scope="module")
def undisturbed(untouched: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What STAGES make."""
    artifacts = tmp_path_factory.mktemp("undisturbed") / "artifacts"
    for pattern in ("corpora", "judgments", "models/rater-*", "ratings"):
        (made,) = untouched.glob(pattern)
        shutil.copytree(made, artifacts / made.relative_to(untouched))
    return artifacts


@pytest.mark.parametrize("stage", ["judge", "train_rater"])
def test_of_two_identical_commands_the_second_goes_on_when_the_first_is_killed(
    undisturbed: Path, tmp_path: Path, stage: str
) -> None:
    artifacts = tmp_path / "artifacts"
    first = start(artifacts, tmp_path / "first", *STAGES)
    wait_for(tmp_path / "first", f"] {stage}:", first)
    stop_while_it_builds(first, artifacts)  # until the other one waits, however fast the machine is
    second = start(artifacts, tmp_path / "second", *STAGES)
    wait_for(tmp_path / "second", f"(process {first.pid}) is building it", second)
    os.killpg(first.pid, signal.SIGKILL)
    first.wait()
    assert second.wait(1200) == 0, (tmp_path / "second").read_text(encoding="utf-8")
    assert fingerprints(artifacts) == fingerprints(undisturbed)
    assert leftovers(artifacts) == []


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def all_below(pid: int) -> list[int]:
    return [process for child in children(pid) for process in (child, *all_below(child))]


def test_of_three_cells_at_once_one_is_killed(undisturbed: Path, tmp_path: Path) -> None:
    """The others end; the same command again builds what is missing."""
    artifacts, log = tmp_path / "artifacts", tmp_path / "log"
    shutil.copytree(undisturbed, artifacts)
    sweep = ["-m", "stage=[select,order]", "selection=uniform,top_k,sample", "hydra/launcher=local"]
    task = start(artifacts, log, *sweep)
    folder = tmp_path / "log-sweep/.submitit"
    killed = kill_first(task, folder)
    assert task.wait(1200) == 1, log.read_text(encoding="utf-8")
    assert "\n1 of 3 cells failed:" in log.read_text(encoding="utf-8")
    made = [name for name in fingerprints(artifacts) if name.startswith("orders/")]
    assert len(made) >= 2, f"cell {killed} was killed; {made}"
    again = start(artifacts, tmp_path / "again", *sweep)
    assert again.wait(1200) == 0, (tmp_path / "again").read_text(encoding="utf-8")
    assert sum(name.startswith("orders/") for name in fingerprints(artifacts)) == 3
    logs = [file.read_text(encoding="utf-8") for file in tmp_path.glob("again-sweep/.submitit/*/*_log.out")]
    assert sum("done in" in text for text in logs) == 3 - len(made)
    assert leftovers(artifacts) == []


def kill_first(task: subprocess.Popen[bytes], folder: Path) -> int:
    """Kill the process of the first cell that prints that it runs a stage."""
    while task.poll() is None:
        for file in sorted(folder.glob("*/*_log.out")):
            if "] select:" in file.read_text(encoding="utf-8"):
                pid = int(file.parent.name.split("_")[0])  # submitit names local jobs by their process
                for process in [*all_below(pid), pid]:
                    os.kill(process, signal.SIGKILL)
                return pid
        time.sleep(0.02)
    pytest.fail("no cell ran a stage")
