"""The main job at its smallest size, through the command line, and what it has made."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from repository import ROOT

SMALL = [
    *("scale=smoke", "corpus.reader.max_characters_per_domain=60_000", "num_workers=1"),
    *("hydra/launcher=basic", "replicate=0"),
]


def command(artifacts: Path, *arguments: str) -> list[str]:
    outputs = [f"hydra.run.dir={artifacts}/outputs", f"hydra.sweep.dir={artifacts}/sweep"]
    return [sys.executable, str(ROOT / "run.py"), *SMALL, f"paths.artifacts={artifacts}", *outputs, *arguments]


def run(artifacts: Path, *arguments: str) -> str:
    """Run to the end; returns what was printed."""
    # no key of this machine's account is found
    env = {key: value for key, value in os.environ.items() if not key.startswith("WANDB")}
    env |= {
        "NETRC": os.devnull,
        "WANDB_DATA_DIR": str(artifacts / "wandb"),
        "WANDB_CACHE_DIR": str(artifacts / "wandb"),
    }
    found = subprocess.run(
        command(artifacts, *arguments), capture_output=True, text=True, timeout=1200, cwd=ROOT, env=env
    )
    assert found.returncode == 0, found.stdout[-3000:] + found.stderr[-3000:]
    return found.stdout


def manifests(artifacts: Path) -> dict[str, dict[str, Any]]:
    found = (json.loads(file.read_text(encoding="utf-8")) for file in artifacts.glob("*/*/manifest.json"))
    return {manifest["name"]: manifest for manifest in found}


def kill_at(artifacts: Path, stage: str, *arguments: str) -> float:
    """Run, and kill at a random moment of a stage; returns the moment, in seconds after the stage began."""
    task = subprocess.Popen(
        command(artifacts, *arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=ROOT,
        start_new_session=True,
    )
    assert task.stdout is not None
    for line in task.stdout:
        if f"] {stage}:" in line.decode():
            break
    delay = random.uniform(0.0, 2.0)
    time.sleep(delay)
    os.killpg(task.pid, signal.SIGKILL)
    task.communicate()
    return delay


def check_same(reference: Path, artifacts: Path, killed: dict[str, float]) -> None:
    """What a run has made after kills is what an undisturbed run has made, and nothing is left over."""
    expected = manifests(reference)
    found = {name: manifest for name, manifest in manifests(artifacts).items() if not name.startswith("analyses/")}
    other = [name for name in found if found[name]["fingerprint"] != expected[name]["fingerprint"]]
    assert not other, f"killed {killed}: {', '.join(other)} came out otherwise"
    beside = (file.name for kind in {name.split("/")[0] for name in found} for file in artifacts.glob(f"{kind}/.*"))
    hidden = [name for name in beside if not name.endswith((".lock", ".checked.json"))]
    assert not hidden, f"killed {killed}: {', '.join(hidden)} is left"
