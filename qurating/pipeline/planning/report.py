"""A plan as text or JSON: one line per artifact, totals, and where each figure comes from."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qurating.pipeline.planning.estimates import Estimate, Estimates
from qurating.pipeline.planning.states import RUNS, Planned

MAX_LINES = 3  # more artifacts of one stage in one state share a line, if they take as much work each
_COLUMNS = ("stage", "artifact", "state", "work", "time", "disk", "rate from")


@dataclass(frozen=True)
class Row:
    """An artifact and what it takes; no estimate if nothing is to be made."""

    planned: Planned
    estimate: Estimate | None

    @property
    def wall_seconds(self) -> float:
        """Time on all devices of the cell; of a CPU, on one core, or on one for each worker."""
        if self.estimate is None or self.estimate.time is None:
            return 0.0
        if self.planned.on_gpu:
            return self.estimate.time.seconds / self.planned.num_devices
        return self.estimate.time.seconds / max(int(self.planned.settings.get("num_workers") or 1), 1)


@dataclass(frozen=True)
class Report:
    """The plan of a command."""

    rows: Sequence[Row]
    root: Path
    num_cells: int
    start_seconds: float  # CPU time of all processes before their first stages work
    num_processes: int = 1

    @classmethod
    def of(cls, planned: Mapping[str, Planned], root: Path, num_cells: int, num_processes: int) -> "Report":
        """The plan of a command with so many cells, in so many processes."""
        estimates = Estimates(planned, root)
        rows = [Row(each, estimates.of(name) if each.state in RUNS else None) for name, each in planned.items()]
        starts = any(row.estimate is not None for row in rows) * num_processes
        return cls(rows, root, num_cells, starts * estimates.start_seconds, num_processes)

    def totals(self) -> dict[str, Any]:
        """Sums over everything that would be made; `hours` by device. What is unknown is not in them."""
        made = [(row, row.estimate) for row in self.rows if row.estimate is not None]
        hours = {"CPU": self.start_seconds / 3600} if made else {}
        for _, estimate in made:
            if estimate.time is not None:
                hours[estimate.time.device] = hours.get(estimate.time.device, 0.0) + estimate.time.seconds / 3600
        works = [estimate.work for _, estimate in made if estimate.work is not None]
        cells = range(self.num_cells)
        chains = [sum(row.wall_seconds for row in self.rows if cell in row.planned.cells) for cell in cells]
        serial, longest = sum(row.wall_seconds for row in self.rows), max(chains, default=0.0)
        return {
            "artifacts": len(self.rows),
            "to_make": len(made),
            "calls": sum(work.calls for work in works),
            "usd": sum(work.usd or 0.0 for work in works),
            "hours": hours,
            "gigabytes": sum(estimate.num_bytes or 0.0 for _, estimate in made) / 1e9,
            "wall_hours_one_after_another": (serial + self.start_seconds) / 3600,
            "wall_hours_all_cells_at_once": (longest + self.start_seconds / self.num_processes) / 3600,
            "unknown": sum(len(estimate.unknown) for _, estimate in made),
        }

    def as_json(self) -> str:
        """Everything in the plan; hours are of one device."""
        artifacts = []
        for row in self.rows:
            planned, estimate = row.planned, row.estimate
            entry: dict[str, Any] = {
                "name": planned.name,
                "stage": planned.stage,
                "state": planned.state,
                "why": planned.why,
                "cells": planned.cells,
            }
            if estimate is not None:
                work, time = estimate.work, estimate.time
                entry |= {
                    "work": work.shown if work else None,
                    "assumes": work.note if work else None,
                    "calls": work.calls if work else None,
                    "usd": work.usd if work else None,
                    "hours": time.seconds / 3600 if time else None,
                    "device": time.device if time else None,
                    "rate_from": time.source if time else None,
                    "gigabytes": None if estimate.num_bytes is None else estimate.num_bytes / 1e9,
                    "unknown": list(estimate.unknown),
                }
            artifacts.append(entry)
        return json.dumps({"cells": self.num_cells, "artifacts": artifacts, "totals": self.totals()}, indent=1)

    def as_text(self) -> str:
        """The table for people, the totals, and what is refused or unknown."""
        totals, states = self.totals(), [row.planned.state for row in self.rows]
        others = [f"{states.count(state)} {state}" for state in dict.fromkeys(states) if state not in RUNS]
        head = (
            f"Plan of {self.num_cells} cell{'s' * (self.num_cells != 1)}, artifacts in {self.root}: "
            f"{totals['to_make']} to make{''.join(f', {other}' for other in others)}. Nothing is started."
        )
        notes = _Notes()
        lines = [_line(group, notes) for group in _groups(self.rows)]
        parts = [head, "", *_aligned([_COLUMNS, *lines]), "", *self._summary(totals)]
        reasons = [f"  {row.planned.name}: {row.planned.why}" for row in self.rows if row.planned.state == "refused"]
        parts += ["", "Refused: the cells that need these stop there.", *reasons] if reasons else []
        parts += ["", *notes.lines] if notes.lines else []
        return "\n".join(parts)

    def _summary(self, totals: Mapping[str, Any]) -> list[str]:
        hours = [duration(number * 3600, device) for device, number in totals["hours"].items()]
        dollars = f"{totals['calls']:,} calls to a judge, ${totals['usd']:,.2f}" if totals["calls"] else ""
        sums = [*filter(None, [dollars]), *hours, f"{_disk(totals['gigabytes'] * 1e9)} of disk"]
        lines = [f"Total: {'; '.join(sums)}" + (" and what is unknown" if totals["unknown"] else "")]
        if totals["hours"]:
            serial, parallel = (totals[f"wall_hours_{which}"] for which in ("one_after_another", "all_cells_at_once"))
            lines.append(
                f"Wall time: {duration(serial * 3600)} one cell after another, {duration(parallel * 3600)} with all "
                "cells at once (the longest chain), without waiting in a queue"
            )
        return lines


class _Notes:
    """Numbered notes below the table; the same text has one number."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}

    def mark(self, texts: Iterable[str]) -> str:
        """The marks of some notes, to put behind an entry."""
        return "".join(f" [{self._numbers.setdefault(text, len(self._numbers) + 1)}]" for text in texts if text)

    @property
    def lines(self) -> list[str]:
        return [f"[{number}] {text}" for text, number in self._numbers.items()]


def _groups(rows: Sequence[Row]) -> list[list[Row]]:
    """Rows of one stage, state, amount of work and rate that share a line; otherwise each by itself."""
    together: dict[tuple[str, str], list[Row]] = {}
    for row in rows:
        together.setdefault((row.planned.stage, row.planned.state), []).append(row)
    return [part for group in together.values() for part in _alike(group)]


def _alike(group: Sequence[Row]) -> list[list[Row]]:
    if len(group) <= MAX_LINES:
        return [[row] for row in group]
    parts: dict[Any, list[Row]] = {}
    for row in group:
        work, time = (row.estimate.work, row.estimate.time) if row.estimate else (None, None)
        parts.setdefault((work and work.shown, time and (time.device, time.source)), []).append(row)
    return [*parts.values()]


def _line(group: Sequence[Row], notes: _Notes) -> tuple[str, ...]:
    first, count = group[0], len(group)
    name = first.planned.name if count == 1 else f"{first.planned.name} and {count - 1} more"
    state: str = first.planned.state
    if count == 1 and state != "refused":
        state += notes.mark([first.planned.why])
    shown = (first.planned.stage, _cut(name), state)
    if first.estimate is None:
        return (*shown, "", "", "", "")
    estimates = [row.estimate for row in group if row.estimate is not None]
    work = (f"{count} × " if count > 1 else "") + (first.estimate.work.shown if first.estimate.work else "unknown")
    usd = sum(each.work.usd or 0.0 for each in estimates if each.work is not None)
    work += f", ${usd:,.2f}" if usd else ""
    work += notes.mark(dict.fromkeys(each.work.note for each in estimates if each.work is not None))
    times = [each.time for each in estimates if each.time is not None]
    time = duration(sum(each.seconds for each in times), times[0].device) if times else "unknown"
    sizes = [each.num_bytes for each in estimates if each.num_bytes is not None]
    disk = _disk(sum(sizes)) if sizes else "unknown"
    why = notes.mark(dict.fromkeys(text for each in estimates for text in each.unknown))
    return (*shown, work, time + why, disk, times[0].source if times else "")


def _cut(name: str, width: int = 58) -> str:
    """A long name with its middle left out: its start has the kind, its end what tells it from others."""
    return name if len(name) <= width else f"{name[: width // 2]}…{name[len(name) - width // 2 + 1 :]}"


def _aligned(lines: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]


def duration(seconds: float, device: str = "") -> str:
    """A time for people, of a device if it is given: 203 H200 hours, 40 CPU s."""
    if seconds < 120:
        number, unit = seconds, "s"
    elif seconds < 7200:
        number, unit = seconds / 60, "min"
    else:
        number, unit = seconds / 3600, "hours"
    shown = f"{number:,.0f}" if number >= 10 else f"{number:.1f}"
    return " ".join(filter(None, (shown, device, unit)))


def _disk(num_bytes: float) -> str:
    if num_bytes < 1e9:
        return f"{num_bytes / 1e6:,.{0 if num_bytes >= 10e6 else 1}f} MB"
    return f"{num_bytes / 1e9:,.{0 if num_bytes >= 10e9 else 1}f} GB"
