"""What an offline run of Weights & Biases holds, read from the files that the real client has written."""

import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from qurating.training.wandb_files import records, row


@dataclass
class OfflineRun:
    """All attempts of one run. `history`: rows as they were logged; `axes`: metric -> its x axis."""

    name: str = ""
    group: str = ""
    project: str = ""
    tags: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    summary: dict[str, Any] = field(default_factory=dict)
    axes: dict[str, str] = field(default_factory=dict)
    used: dict[str, Any] = field(default_factory=dict)  # artifacts by name
    made: dict[str, Any] = field(default_factory=dict)
    exit_codes: list[int] = field(default_factory=list)

    def logged(self) -> set[str]:
        """Everything that was logged, but for the client's own."""
        logged = {key for each in self.history for key in each}
        return {key for key in logged | self.summary.keys() if not key.startswith("_")}

    def points(self, metric: str) -> list[tuple[float, float]]:
        """(x, value) of a metric, in the order in which they were logged."""
        return [(each[self.axes[metric]], each[metric]) for each in self.history if metric in each]


def read_runs(folder: Path) -> dict[str, OfflineRun]:
    """The offline runs under a folder `wandb`, by id."""
    found: dict[str, OfflineRun] = {}
    for file in sorted(folder.glob("offline-run-*/*.wandb")):
        run = found.setdefault(file.stem.removeprefix("run-"), OfflineRun())
        for record in records(file):
            _add(run, record)
    return found


def _add(run: OfflineRun, record: Any) -> None:
    kind = record.WhichOneof("record_type")
    if kind == "run":
        run.name, run.group, run.project = record.run.display_name, record.run.run_group, record.run.project
        run.tags = list(record.run.tags)
        run.config |= {item.key: json.loads(item.value_json) for item in record.run.config.update}
    elif kind == "history":
        run.history.append(row(record))
    elif kind == "summary":
        for item in record.summary.update:
            run.summary[(item.nested_key or [item.key])[0]] = json.loads(item.value_json)
    elif kind == "metric" and record.metric.step_metric:
        run.axes[record.metric.name] = record.metric.step_metric
    elif kind == "artifact" and record.artifact.user_created:
        (run.used if record.artifact.use_after_commit else run.made)[record.artifact.name] = record.artifact
    elif kind == "exit":
        run.exit_codes.append(record.exit.exit_code)
