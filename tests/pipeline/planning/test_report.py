"""A plan as text: one line per artifact, totals, reasons."""

import json
from pathlib import Path
from typing import Any

from qurating.pipeline.planning.counts import Counts
from qurating.pipeline.planning.estimates import Estimate
from qurating.pipeline.planning.rates import Time
from qurating.pipeline.planning.report import Report, Row, duration
from qurating.pipeline.planning.states import Planned, State
from qurating.pipeline.planning.work import Work


def row(name: str, stage: str, state: State = "build", cells: tuple[int, ...] = (0,), **more: Any) -> Row:
    gpu, devices = more.pop("gpu", False), more.pop("devices", 1)
    planned = Planned(name, stage, state, more.pop("why", ""), {}, {}, gpu, devices, list(cells))
    return Row(planned, more.pop("estimate", None))


def estimate(hours: float, device: str = "CPU", shown: str = "30B tokens", **of_work: Any) -> Estimate:
    work = Work(1.0, shown, 1.0, Counts({}), **of_work)
    return Estimate(work, Time(hours * 3600, device, f"table, 2026-11, a {device}"), 5e9)


def test_totals_by_device_and_the_longest_chain() -> None:
    rows = [
        row("corpora/c", "prepare_corpus", cells=(0, 1), estimate=estimate(3)),
        row("models/a", "train_lm", cells=(0,), estimate=estimate(200, "H200"), gpu=True, devices=8),
        row("models/b", "train_lm", cells=(1,), estimate=estimate(160, "H200"), gpu=True, devices=8),
    ]
    totals = Report(rows, Path("artifacts"), 2, 0.0).totals()
    assert totals["hours"] == {"CPU": 3, "H200": 360}
    assert totals["wall_hours_one_after_another"] == 3 + 360 / 8
    assert totals["wall_hours_all_cells_at_once"] == 3 + 200 / 8
    assert totals["gigabytes"] == 15


def test_the_start_of_processes_counts_if_anything_runs() -> None:
    done = row("corpora/c", "prepare_corpus", "complete")
    assert Report([done], Path("artifacts"), 1, 0.0).totals()["hours"] == {}
    busy = Report([done, row("models/a", "train_lm", estimate=estimate(1))], Path("artifacts"), 1, 1800.0)
    assert busy.totals()["hours"] == {"CPU": 1.5}
    assert busy.totals()["wall_hours_one_after_another"] == busy.totals()["wall_hours_all_cells_at_once"] == 1.5
    two = [row(f"models/{n}", "train_lm", cells=(n,), estimate=estimate(1)) for n in range(2)]
    totals = Report(two, Path("artifacts"), 2, 3600.0, num_processes=2).totals()
    assert (totals["wall_hours_one_after_another"], totals["wall_hours_all_cells_at_once"]) == (3, 1.5)


def test_many_artifacts_of_a_stage_share_a_line_and_a_sum() -> None:
    rows = [row(f"models/{n}", "train_lm", cells=(n,), estimate=estimate(10, "H200"), gpu=True) for n in range(33)]
    text = Report(rows, Path("artifacts"), 33, 0.0).as_text()
    (line,) = [line for line in text.splitlines() if line.startswith("train_lm")]
    assert "models/0 and 32 more" in line
    assert "33 × 30B tokens" in line
    assert "330 H200 hours" in line
    assert "165 GB" in line
    assert "table, 2026-11, a H200" in line


def test_artifacts_of_other_amounts_or_devices_have_a_line_of_their_own() -> None:
    rows = [row(f"models/{n}", "train_lm", estimate=estimate(10, shown="30B tokens")) for n in range(4)]
    rows += [row(f"models/large/{n}", "train_lm", estimate=estimate(15, shown="45B tokens")) for n in range(2)]
    rows += [row("models/gpu", "train_lm", estimate=estimate(1, "H200"), gpu=True)]
    text = Report(rows, Path("artifacts"), 7, 0.0).as_text()
    lines = [line for line in text.splitlines() if line.startswith("train_lm")]
    assert len(lines) == 3
    for line, parts in zip(lines, [("4 × 30B", "40 CPU"), ("2 × 45B", "30 CPU"), (" 30B", "60 H200")], strict=True):
        assert all(part in line for part in parts), line


def test_what_is_unknown_is_no_zero_and_has_its_reason() -> None:
    unknown = Estimate(Work(None, "2 calls", 1.0, calls=2, usd=None), None, None, ("time: the endpoint decides",))
    text = Report([row("judgments/j", "judge", estimate=unknown)], Path("artifacts"), 1, 0.0).as_text()
    assert "unknown [1]" in text
    assert "[1] time: the endpoint decides" in text
    assert "and what is unknown" in text


def test_the_refused_have_their_whole_reason() -> None:
    why = "artifacts/orders/o was made with other settings or inputs:\n    config.seed: 0 before, 1 now"
    rows = [row("orders/o", "order", "refused", why=why), row("models/a", "train_lm", "blocked", why="not reached")]
    text = Report(rows, Path("artifacts"), 1, 0.0).as_text()
    assert why in text
    assert "0 to make, 1 refused, 1 blocked" in text


def test_json_has_what_the_text_has() -> None:
    rows = [
        row("corpora/c", "prepare_corpus", "complete"),
        row("judgments/j", "judge", estimate=estimate(1, calls=8, usd=2.5, note="a note")),
    ]
    found = json.loads(Report(rows, Path("artifacts"), 1, 0.0).as_json())
    assert found["artifacts"][0] == {
        "name": "corpora/c",
        "stage": "prepare_corpus",
        "state": "complete",
        "why": "",
        "cells": [0],
    }
    judge = found["artifacts"][1]
    assert (judge["usd"], judge["calls"], judge["hours"], judge["assumes"]) == (2.5, 8, 1, "a note")
    assert found["totals"]["usd"] == 2.5
    assert found["totals"]["calls"] == 8


def test_times_for_people() -> None:
    assert duration(8.04, "CPU") == "8.0 CPU s"
    assert duration(90, "CPU") == "90 CPU s"
    assert duration(3000) == "50 min"
    assert duration(206.4 * 3600, "H200") == "206 H200 hours"
