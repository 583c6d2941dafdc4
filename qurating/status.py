"""Show how far the cells of a sweep are, also from another machine that sees its folder.

python -m qurating.status               the latest sweep or run under multirun/ and outputs/
python -m qurating.status SWEEP         the sweep, or single run, in this folder
python -m qurating.status --watch       again and again, until nothing runs any more
python -m qurating.status --json        for scripts

A line per cell: its state, stage, progress in the stage, time in it, and an estimate of the time left. Below it what it
waits for, or why it failed and where its log is. SLURM is asked where it runs the cells.

Exit status: 0 if all is complete, 1 if nothing runs any more and not all is complete, 2 for wrong usage, 3 while
something runs, waits, or cannot be asked.
"""

import argparse
import dataclasses
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from qurating.pipeline.cells import overview, state
from qurating.pipeline.cells.overview import Cell, Overview
from qurating.runtime.errors import StageError

SECONDS_BETWEEN_LOOKS = 5
_NOT_SHOWN = ("hydra.", "hydra/", "+hydra.", "++hydra.")  # how cells are run, not what they are


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m qurating.status", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", nargs="?", type=Path, metavar="SWEEP")
    parser.add_argument("--watch", action="store_true", help="look again every few seconds while something runs")
    parser.add_argument("--json", action="store_true", help="print JSON")
    given = parser.parse_args(arguments)
    folder = given.folder or _latest()
    if folder is None:
        return _refuse("there is no sweep and no run under multirun/ and outputs/: name the folder of one")
    while True:
        try:
            found = overview.read(folder)
        except StageError as error:
            return _refuse(str(error))
        print(_as_json(folder, found) if given.json else as_text(folder, found), flush=True)
        if not given.watch or found.exit_status != 3:
            return found.exit_status
        time.sleep(SECONDS_BETWEEN_LOOKS)
        print()


def as_text(folder: Path, found: Overview) -> str:
    """A table of the cells, with what there is to say about each below its line."""
    shared, own = _overrides(found.cells)
    counts = {
        each: sum(cell.state == each for cell in found.cells) for each in dict.fromkeys(c.state for c in found.cells)
    }
    lines = [f"{folder}: {len(found.cells)} cells: " + ", ".join(f"{number} {each}" for each, number in counts.items())]
    if shared:
        lines.append(f"all cells: {' '.join(shared)}")
    header = ("cell", "state", "stage", "progress", "in stage", "left (est.)", "overrides")
    rows: list[tuple[str, ...]] = [header]
    notes = [""]
    for cell, overrides in zip(found.cells, own, strict=True):
        rows.append((str("run" if cell.number is None else cell.number), *_columns(cell), " ".join(overrides)))
        notes.append(_note(cell))
    if found.comparison:
        rows.append(("end", *_columns(found.comparison), "comparison of the cells"))
        notes.append(_note(found.comparison))
    widths = [max(len(row[place]) for row in rows) for place in range(len(header) - 1)]
    for row, note in zip(rows, notes, strict=True):
        fields = [field.ljust(width) for field, width in zip(row[:-1], widths, strict=True)]
        lines.append("  ".join([*fields, row[-1]]).rstrip())
        lines += [f"    {note}"] if note else []
    return "\n".join(lines)


def _columns(cell: Cell) -> tuple[str, ...]:
    stage = f"{cell.stage} ({cell.place} of {cell.num_stages})" if cell.stage else ""
    seconds = "" if cell.seconds is None else _duration(cell.seconds)
    left = "" if cell.seconds_left is None else ("at least " * cell.is_at_least) + _duration(cell.seconds_left)
    return cell.state, stage, _progress(cell), seconds, left


def _progress(cell: Cell) -> str:
    if cell.progress is None:
        return ""
    done, total, unit = cell.progress
    return f"{done:,} {unit}" if total is None else f"{done:,} of {total:,} {unit}"


def _note(cell: Cell) -> str:
    job = f"job {cell.job}" if cell.job and cell.state not in (overview.FINISHED, overview.RUNNING) else ""
    log = f"log: {cell.log}" if cell.log and cell.state in (overview.FAILED, overview.KILLED) else ""
    return "; ".join(part for part in (cell.note, job, log) if part)


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes:02} min" if hours else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def _overrides(cells: Sequence[Cell]) -> tuple[list[str], list[list[str]]]:
    """The overrides that all cells share, and those of each cell alone."""
    shown = [[each for each in cell.overrides if not each.startswith(_NOT_SHOWN)] for cell in cells]
    shared = [each for each in shown[0] if all(each in other for other in shown)] if len(cells) > 1 else []
    return shared, [[each for each in one if each not in shared] for one in shown]


def _as_json(folder: Path, found: Overview) -> str:
    def fields(cell: Cell) -> dict[str, object]:
        progress = cell.progress._asdict() if cell.progress else None
        return dataclasses.asdict(cell) | {"progress": progress}

    content = {
        "sweep": str(folder),
        "command": found.sweep.get("command"),
        "cells": [fields(cell) for cell in found.cells],
        "comparison": fields(found.comparison) if found.comparison else None,
        "exit_status": found.exit_status,
    }
    return json.dumps(content, indent=1, ensure_ascii=False)


def _latest() -> Path | None:
    """The sweep or run under multirun/ and outputs/ that was started last."""
    files = [*Path("multirun").glob(f"*/*/{state.SWEEP}"), *Path("outputs").glob(f"*/*/{state.STATE}")]
    return (
        max(files, key=lambda file: (file.parent.parent.name, file.parent.name), default=Path()).parent
        if files
        else None
    )


def _refuse(reason: str) -> int:
    print(f"Error: {reason}", file=sys.stderr)
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
