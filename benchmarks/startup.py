"""Seconds until `--help`, `--cfg job` and a config error answer, compared with Hydra's own help on the same config.

    python benchmarks/startup.py [runs]
    python benchmarks/startup.py [runs] --sweep

Prints the median and the range of each, for whole processes in turn. With `--sweep`: CPU seconds (user and system) of a
sweep of four cells in which every stage is complete, without and with 20 overrides. The first run of both builds the
artifacts, which takes minutes.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
HYDRAS_OWN = (
    "import sys; sys.argv = ['run.py', '--help']; import hydra; from qurating.pipeline import resolvers;"
    "resolvers.register_resolvers();"
    f"hydra.main(version_base='1.3', config_path={str(ROOT / 'conf')!r}, config_name='config')(print)()"
)
COMMANDS = {
    "--help": ["run.py", "--help"],
    "--cfg job": ["run.py", "--cfg", "job"],
    "an unknown key": ["run.py", "selection.temprature=2"],
    "an unknown choice": ["run.py", "selection=nonsense"],
    "Hydra's own --help": ["-c", HYDRAS_OWN],
}


OVERRIDES = [
    *("seed=3", "num_tokens=20_000", "num_workers=1", "trainer.devices=1", "corpus.heldout_fraction=0.2"),
    *("corpus.reader.min_words=10", "judge.num_pairs=90", "judge.noise=0.5", "judge.max_concurrency=2"),
    *("rater.optimizer.lr=0.002", "rater.num_epochs=2", "rater.max_tokens=300", "rater.validation_fraction=0.2"),
    *("target.fraction=0.4", "annotation.num_steps=4", "scorer.num_epochs=2", "model.optimizer.lr=0.001"),
    *("model.batch_size_sequences=4", "model.warmup_fraction=0.1", "stages.evaluate.batch_size_sequences=8"),
]
SWEEPS = {"a finished sweep": [], f"with {len(OVERRIDES)} overrides": OVERRIDES}


def answers(num_runs: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(num_runs):
        for name, arguments in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, check=False)
            seconds[name].append(time.perf_counter() - started)
    return seconds


def finished_sweeps(num_runs: int) -> dict[str, list[float]]:
    seconds: dict[str, list[float]] = {name: [] for name in SWEEPS}
    with tempfile.TemporaryDirectory() as folder:
        for run in range(num_runs + 1):
            for name, overrides in SWEEPS.items():
                command = [sys.executable, str(ROOT / "run.py"), "scale=smoke", *overrides]
                started = _cpu_seconds()
                done = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
                if run > 0:  # the first run builds what the others skip
                    assert "done in" not in done.stdout
                    seconds[name].append(_cpu_seconds() - started)
    return seconds


def _cpu_seconds() -> float:
    """User and system time of all finished subprocesses."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("runs", type=int, nargs="?", default=5)
    parser.add_argument("--sweep", action="store_true")
    given = parser.parse_args()
    for name, found in (finished_sweeps if given.sweep else answers)(given.runs).items():
        print(f"{name:20} {statistics.median(found):5.2f} s  ({min(found):.2f} to {max(found):.2f})")
