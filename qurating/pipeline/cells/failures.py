"""Cells of a sweep that failed: each is recorded in its folder, whatever ran it, and told at the end of the sweep."""

import os
import sys
import traceback
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import NamedTuple

from qurating.artifacts.files import read_json, write_json
from qurating.runtime.errors import user_message

FILE = "failure.json"
_MAX_CHARACTERS = 500  # of a reason


class CellError(Exception):
    """A cell of a sweep failed. The message is the reason, in one line."""


class Failure(NamedTuple):
    """Of one cell. `log`: the file that says more; None if that is the terminal of the sweep."""

    reason: str
    log: str | None


def record(cell: Path, reason: str, log: Path | None = None) -> None:
    """Write the failure of a cell to its folder. The first one stays: others may be its consequences."""
    if not (cell / FILE).exists():
        written = " ".join(reason.split())[:_MAX_CHARACTERS]
        write_json(cell / FILE, Failure(written, str(log) if log else None)._asdict())


def record_error(cell: Path, error: BaseException) -> CellError:
    """Print an error of a cell and record it; returns it without its traceback, which holds models in memory."""
    message = user_message(error)
    if message is None:
        traceback.print_exception(error)
    else:
        print(f"\nError: {message}", file=sys.stderr, flush=True)
    record(cell, message or traceback.format_exception_only(error)[-1], _log_of_this_job())
    return CellError(read(cell).reason)


def read(cell: Path) -> Failure:
    return Failure(**read_json(cell / FILE))


def forget(sweep: Path) -> None:
    """Remove what an earlier sweep in the same folder has said of its cells, which may have been more."""
    for file in [*sweep.glob(f"*/{FILE}"), *sweep.glob("*/artifacts.json")]:
        file.unlink()


def find(sweep: Path) -> dict[int, Failure]:
    """The failures of a sweep, by the number of the cell."""
    return {int(file.parent.name): read(file.parent) for file in sweep.glob(f"*/{FILE}")}


def told(failures: Mapping[int, Failure], num_cells: int, choices: Mapping[int, Iterable[str]]) -> str:
    """What the user reads at the end of a sweep: two lines per failed cell.

    Args:
        num_cells: of the sweep, failed and complete.
        choices: the overrides that tell a cell from the others, by its number.
    """
    lines = [f"{len(failures)} of {num_cells} cells failed:"]
    for number, failure in sorted(failures.items()):
        lines.append(f"  {number} ({' '.join(choices.get(number, ())) or 'the only cell'}): {failure.reason}")
        lines += [f"    log: {failure.log}"] if failure.log else []
    return "\n".join([*lines, "The same command again runs these alone: what is complete is skipped."])


def _log_of_this_job() -> Path | None:
    if "SUBMITIT_EXECUTOR" not in os.environ:
        return None
    import submitit

    log: Path = submitit.JobEnvironment().paths.stderr
    return log
