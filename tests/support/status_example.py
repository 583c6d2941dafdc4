"""A sweep of five cells on disk, each in another state, as their processes leave it."""

import dataclasses
import subprocess
import sys
import time
from pathlib import Path

from qurating.artifacts.files import write_json
from qurating.pipeline.cells import state
from qurating.pipeline.cells.state import Process, State, begin_sweep, read_sweep

HERE = Process.this()
STAGES = [("select", "subsets/x"), ("train_lm", "models/x"), ("evaluate", "evaluations/x")]


def gone() -> Process:
    """A process of this machine that has ended."""
    with subprocess.Popen([sys.executable, "-c", "import sys; sys.stdin.read()"], stdin=subprocess.PIPE) as child:
        process = Process(HERE.host, child.pid, state.start_of(child.pid))
    return process


def begin(folder: Path, num_cells: int, detached: bool = False, compares: bool = False) -> None:
    cells = [["+experiment=select_and_train", "hydra/launcher=local", f"replicate={n}"] for n in range(num_cells)]
    begin_sweep(folder, cells, launcher="LocalLauncher", detached=detached, compares=compares)


def write_state(folder: Path, number: int, process: Process = HERE, **changes: object) -> None:
    """The state of a cell in the middle of its training, with changes."""
    now = time.time()
    own = State(read_sweep(folder)["id"], number, [], process, None, None, now - 100, str(folder / "artifacts"), STAGES)
    changed = {"stage": 1, "stage_started": now - 60} | changes
    write_json(folder / str(number) / state.STATE, dataclasses.asdict(own) | changed)


def half_trained(folder: Path, process: Process = HERE) -> None:
    """A training that `process` has brought to step 10 of 40."""
    working = folder / "artifacts/models/.x.partial/metrics"
    (working / "from_step_0").mkdir(parents=True)
    (working / "from_step_0/metrics.csv").write_text("epoch,step,loss\n0,4,1.5\n0,9,1.25\n")
    write_json(working / "total.json", 40)
    write_json(folder / "artifacts/models/.x.plan.json", {"host": process.host, "process": process.pid})
