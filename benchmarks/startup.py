"""Seconds until `--help`, `--cfg job` and a config error answer, beside Hydra's own help of the same config.

    python benchmarks/startup.py [runs]

Prints the median and the range of each, whole processes, one after the other in turn.
"""

import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).parent.parent
HYDRAS_OWN = (
    "import sys; sys.argv = ['run.py', '--help']; import hydra; from qurating import configuration;"
    "configuration.register_resolvers();"
    f"hydra.main(version_base='1.3', config_path={str(ROOT / 'conf')!r}, config_name='config')(print)()"
)
COMMANDS = {
    "--help": ["run.py", "--help"],
    "--cfg job": ["run.py", "--cfg", "job"],
    "an unknown key": ["run.py", "selection.temprature=2"],
    "an unknown choice": ["run.py", "selection=nonsense"],
    "Hydra's own --help": ["-c", HYDRAS_OWN],
}


def main(num_runs: int) -> None:
    seconds: dict[str, list[float]] = {name: [] for name in COMMANDS}
    for _ in range(num_runs):
        for name, arguments in COMMANDS.items():
            started = time.perf_counter()
            subprocess.run([sys.executable, *arguments], cwd=ROOT, capture_output=True, check=False)
            seconds[name].append(time.perf_counter() - started)
    for name, found in seconds.items():
        print(f"{name:20} {statistics.median(found):5.2f} s  ({min(found):.2f} to {max(found):.2f})")


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 5)
