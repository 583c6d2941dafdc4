"""What it costs to compare artifacts with their hashes before they are read, as a share of the stages that read them.

    python benchmarks/verifying.py [artifacts]

The folder must hold the artifacts of a finished run. For each stage: the CPU and the wall seconds of comparing its
inputs, as after copying the artifacts to another place (nothing is remembered), and as in a second run (everything is);
beside them the wall seconds that the stage took, from its manifest. Within one run nothing is compared, since what a
run has written counts as compared.
"""

import argparse
import time
from collections import defaultdict
from pathlib import Path

from qurating.artifacts.integrity import damaged_files
from qurating.artifacts.manifest import read_manifest, referenced_name


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", nargs="?", type=Path, default=Path("artifacts"))
    root = parser.parse_args().artifacts
    made = {file.parent: read_manifest(file) for file in sorted(root.glob("*/[!.]*/manifest.json"))}
    cost: dict[Path, tuple[float, float, float]] = {}
    for path, manifest in made.items():
        cpu, started = time.process_time(), time.perf_counter()
        assert not damaged_files(path, manifest, forget=True), f"{path} is damaged"
        cpu, wall = time.process_time() - cpu, time.perf_counter() - started
        started = time.perf_counter()
        damaged_files(path, manifest)
        cost[path] = cpu, wall, time.perf_counter() - started
    rows: dict[str, list[float]] = defaultdict(lambda: [0.0, 0.0, 0.0, 0.0])
    compared = set[Path]()
    for manifest in made.values():
        inputs = {root / referenced_name(given) for given in manifest["inputs"].values()}
        row = rows[manifest["stage"]]
        row[0] += manifest["seconds"]
        for number, each in enumerate(zip(*(cost[other] for other in inputs - compared), strict=True), 1):
            row[number] += sum(each)
        compared |= inputs  # the first reader compares
    print(f"{'stage':<18}{'took s':>9}{'CPU s':>9}{'wall s':>9}{'remembered s':>14}{'share %':>9}")
    for stage, row in [*rows.items(), ("all", [sum(column) for column in zip(*rows.values(), strict=True)])]:
        print(f"{stage:<18}{row[0]:9.1f}{row[1]:9.3f}{row[2]:9.3f}{row[3]:14.3f}{100 * row[2] / max(row[0], 0.1):9.2f}")
    size = sum(file["bytes"] for manifest in made.values() for file in manifest["files"].values())
    seconds = sum(wall for _, wall, _ in cost.values())
    print(f"{size / 1e6:,.1f} MB, {size / 1e6 / seconds:,.0f} MB/s")


if __name__ == "__main__":
    main()
