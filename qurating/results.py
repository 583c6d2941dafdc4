"""Gather every evaluation under a folder of artifacts into one table, one row per method.

python -m qurating.results             what is under artifacts/
python -m qurating.results FOLDER      what is under another paths.artifacts
python -m qurating.results --part wiki on a part of the held-out text: a domain, or one of evaluation.sets

A row has the mean over seeds, its 95 % interval, and the paired difference from uniform of the same seed. Trainings
that failed, have not ended or were not evaluated, and damaged evaluations, have rows with their state.

Writes results.parquet, .csv, .md and .tex to FOLDER/results, or --output, and prints the table. Exit status: 0 if a
method has a result, 2 if none has.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from qurating.evaluation.methods import rows
from qurating.evaluation.runs import COMPLETE, find_runs
from qurating.reports.results import FORMATS, as_markdown, write


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m qurating.results", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, default=Path("artifacts"), metavar="FOLDER")
    parser.add_argument(
        "--part",
        default="",
        metavar="NAME",
        help="a domain, or one of evaluation.sets, instead of all that was evaluated",
    )
    parser.add_argument("--tasks", default="", metavar="NAME", help="a tasks.name (the one that most models have)")
    parser.add_argument("--output", type=Path, metavar="FOLDER", help="where the files are written")
    parser.add_argument(
        "--format", nargs="+", choices=FORMATS, default=[*FORMATS], help="which files are written (all of these)"
    )
    given = parser.parse_args(arguments)
    if not given.folder.is_dir():
        return _refuse(f"{given.folder} is not a folder")
    runs = find_runs(given.folder, given.part)
    if not runs:
        return _refuse(f"no evaluation in {given.folder}, and no language model (it has to be a paths.artifacts)")
    if given.tasks and given.tasks not in (known := {each.name for run in runs for each in run.tasks}):
        return _refuse(f"no model has results on tasks {given.tasks!r}, but {', '.join(sorted(known)) or 'none'}")
    table = rows(runs, given.tasks)
    print(as_markdown(table, evaluations=False))
    if not any(run.state == COMPLETE for run in runs):
        on = f" on {given.part}" if given.part else ""
        return _refuse(f"no evaluation in {given.folder} has a result{on}: nothing is written")
    try:
        default = given.folder / "results" / given.part.replace("/", "_") if given.part else given.folder / "results"
        files = write(table, given.output or default, given.format)
    except OSError as error:
        return _refuse(f"the table cannot be written: {error}")
    print(f"Written: {', '.join(map(str, files))}")
    return 0


def _refuse(reason: str) -> int:
    print(f"Error: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
