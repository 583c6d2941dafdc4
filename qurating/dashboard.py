"""Make a workspace and a report of Weights & Biases for the runs of a sweep, or of a project.

python -m qurating.dashboard                   of the runs that were logged under artifacts/
python -m qurating.dashboard FOLDER            of another paths.artifacts
python -m qurating.dashboard --group SWEEP     of one sweep: its folder, as `logger.group` has it
python -m qurating.dashboard dashboard.json    of what the command wrote on a machine without a key

Panels show what the runs have logged, and nothing else. Without a key the definition is written as JSON.
Exit status: 0, or 2 if nothing can be made.
"""

import argparse
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from qurating.artifacts.files import read_json, write_json
from qurating.runtime import internals
from qurating.runtime.errors import StageError


class Panels(NamedTuple):
    """Panels of one kind for the metrics whose names match; `is_one`: all of them in one panel."""

    kind: str  # bar, line, histogram, image, table
    pattern: str
    is_one: bool = False


MAX_RUNS = 100  # in a panel; W&B shows ten by default
SECTIONS = {
    "Results": (
        Panels("bar", r"evaluate/(perplexity|bits_per_byte)"),
        Panels("bar", r"evaluate/perplexity_by_domain/.+", is_one=True),
        Panels("bar", r"evaluate_tasks/(accuracy|accuracy_normalised|bits_per_byte|probability\w*)"),
        Panels("bar", r"evaluate_tasks/by_task/.+/accuracy", is_one=True),
        Panels("table", r"(analyse|analyse_ratings)/table"),
        Panels("image", r"analyse/(changes|domains|loss|loss_by_tokens|heldout_loss)|analyse_ratings/(results|curves)"),
    ),
    "Curves": (
        Panels("line", r"train_lm/heldout/nats_per_token"),
        Panels("line", r"train_lm/heldout/nats_per_token/.+"),
        Panels("line", r"\w+/(train/loss|validation/\w+)"),
    ),
    "Ratings": (
        Panels("histogram", r"(rate|score|measure_perplexity|weigh_importance|annotate_proxy)/.+"),
        Panels("bar", r"train_rater/accuracy/.+", is_one=True),
        Panels("bar", r"train_scorer/spearman"),
        Panels("image", r"(judge|train_rater|train_scorer)/.+"),
        Panels("image", r"analyse/(ratings|correlations|annotation|trajectory|scorer)_\d+"),
        Panels(
            "image",
            r"analyse_ratings/(by_.+|variance|preferences|first_window|correlations|clusters|judge|rater_.+|annotated)",
        ),
    ),
    "Selection": (
        Panels("table", r"(select|check_subset)/examples"),
        Panels("bar", r"(select|check_subset)/(tokens|sequences)"),
        Panels("image", r"analyse/(shares|overlap|selected_\d+|inside_\d+)|report_subset/.+"),
        Panels("image", r"analyse_ratings/(retention.*|overlap|temperatures|normalisation|duplicates)"),
    ),
    "System": (
        Panels("bar", r"(train_lm|pretrain_proxy)/(tokens_per_second|peak_memory_gb)"),
        Panels("line", r"\w+/train/tokens_per_second"),
        Panels("bar", r"\w+/seconds", is_one=True),
    ),
}


@dataclass
class Logged:
    """What the runs of a project, or of one sweep of it, have logged.

    `curves`: metric -> its axis. `figures`: names. `media`: name -> Histogram, Table or Image.
    """

    project: str
    entity: str
    group: str | None
    curves: dict[str, str] = field(default_factory=dict)
    figures: list[str] = field(default_factory=list)
    media: dict[str, str] = field(default_factory=dict)


def main(arguments: Sequence[str]) -> int:
    parser = argparse.ArgumentParser(
        prog="python -m qurating.dashboard", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", nargs="?", type=Path, default=Path("artifacts"), metavar="FOLDER")
    parser.add_argument("--project", help="of the runs, if there are several")
    parser.add_argument("--entity", help="the user or team of the project")
    parser.add_argument("--group", metavar="SWEEP", help="only the runs of this sweep")
    parser.add_argument("--output", type=Path, metavar="FILE", help="of the definition (FOLDER/wandb/dashboard.json)")
    given = parser.parse_args(arguments)
    try:
        if given.source.is_file():
            logged = _read_definition(given.source)
            logged.entity = given.entity or logged.entity
        else:
            logged = read_logged(given.source, given.project, given.entity, given.group)
        return _save(logged) if _has_key() else _write(logged, given.source, given.output)
    except StageError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 2


def _read_definition(file: Path) -> Logged:
    try:
        return Logged(**read_json(file)["logged"])
    except (KeyError, TypeError):
        raise StageError(f"{file} was not written by python -m qurating.dashboard") from None


def read_logged(folder: Path, project: str | None, entity: str | None, group: str | None) -> Logged:
    """What the runs under a folder of artifacts have logged.

    Raises:
        StageError: there is no such run, or there are runs of several projects.
    """
    records = [read_json(file) for file in sorted((folder / "wandb" / "logged").glob("*.json"))]
    if not records:
        raise StageError(f"no run was logged in {folder}: run with logger=wandb (it has to be a paths.artifacts)")
    chosen = [each for each in records if project in (None, each["place"]["project"])]
    chosen = [each for each in chosen if group in (None, each["about"]["group"])]
    if not chosen:
        known = sorted({f"{each['place']['project']}, {each['about']['group']}" for each in records})
        raise StageError("no run has this project and group; known are: " + "; ".join(known))
    projects = sorted({each["place"]["project"] for each in chosen})
    if len(projects) > 1:
        raise StageError(f"the runs are of several projects: set --project to one of {', '.join(projects)}")
    entities = [each["place"]["entity"] for each in chosen if each["place"]["entity"]]
    logged = Logged(projects[0], entity or (entities[-1] if entities else ""), group)
    for record in chosen:
        logged.curves |= {metric: x for metric, (x, _) in record["points"].items()}
        logged.media |= {name: kind for name, (kind, _) in record["media"].items()}
        logged.figures = sorted({*logged.figures, *record["summary"]})
    return logged


def panels(logged: Logged) -> dict[str, list[tuple[str, list[str]]]]:
    """The panels of each section that has any: their kinds and their metrics."""
    found = {name: [panel for wanted in each for panel in _panels(wanted, logged)] for name, each in SECTIONS.items()}
    return {name: each for name, each in found.items() if each}


def _panels(wanted: Panels, logged: Logged) -> Iterator[tuple[str, list[str]]]:
    of_kind = {"bar": logged.figures, "line": [*logged.curves]}
    names = of_kind.get(wanted.kind, [name for name, kind in logged.media.items() if kind.lower() == wanted.kind])
    matched = sorted(name for name in names if re.fullmatch(wanted.pattern, name))
    if matched and wanted.is_one:
        yield wanted.kind, matched
    elif not wanted.is_one:
        yield from ((wanted.kind, [name]) for name in matched)


def _has_key() -> bool:
    import wandb

    wandb.setup(wandb.Settings(silent=True))
    try:
        return wandb.login(prompt=False, verify=True)
    except wandb.errors.AuthenticationError as error:
        raise StageError(f"Weights & Biases refuses the key: {error}") from error


def definition(logged: Logged) -> tuple[Any, Any]:
    """The workspace and the report, as objects of `wandb_workspaces`; raises StageError if that is not installed."""
    try:
        import wandb_workspaces.reports.v2 as reports
        import wandb_workspaces.workspaces as workspaces
        from wandb_workspaces import expr
    except ImportError:
        raise StageError("wandb-workspaces is not installed: pip install -e '.[dashboard]'") from None
    filters = [] if logged.group is None else [expr.Metric("Group") == logged.group]
    title = f"qurating: {logged.project if logged.group is None else Path(logged.group).name}"
    sections, blocks = [], []
    for name, each in panels(logged).items():
        made = [_panel(kind, metrics, logged.curves, reports) for kind, metrics in each]
        sections.append(workspaces.Section(name=name, panels=made, is_open=True))
        runs = reports.Runset(entity=logged.entity, project=logged.project, filters=filters)
        blocks += [reports.H1(name), reports.PanelGrid(runsets=[runs], panels=made)]
    workspace = workspaces.Workspace(
        entity=logged.entity,
        project=logged.project,
        name=title,
        sections=sections,
        settings=workspaces.WorkspaceSettings(max_runs=MAX_RUNS),
        runset_settings=workspaces.RunsetSettings(filters=filters),
    )
    return workspace, reports.Report(entity=logged.entity, project=logged.project, title=title[:128], blocks=blocks)


def _panel(kind: str, metrics: list[str], axes: Mapping[str, str], reports: Any) -> Any:
    title = metrics[0]
    if len(metrics) > 1:
        names = [metric.rsplit("/", 1) for metric in metrics]
        title = names[0][0] if len({name[0] for name in names}) == 1 else names[0][1]
    if kind == "bar":
        return reports.BarPlot(title=title, metrics=metrics, max_runs_to_show=MAX_RUNS)
    if kind == "line":
        x = axes[metrics[0]]
        return reports.LinePlot(title=title, x=x, y=metrics, log_x=x.endswith("/tokens"), max_runs_to_show=MAX_RUNS)
    if kind == "histogram":
        return reports.LinePlot(title=title, y=metrics)
    if kind == "image":
        return reports.MediaBrowser(title=title, media_keys=metrics)
    return reports.WeavePanelSummaryTable(table_name=metrics[0])


def _save(logged: Logged) -> int:
    """Save the workspace and the report."""
    import wandb

    try:
        logged.entity = logged.entity or wandb.Api().default_entity or ""
        both = definition(logged)
        for made in both:
            internals.wandb_definition(made)  # asks whether the project is there: before anything is saved
        for name, made in zip(("workspace", "report"), both, strict=True):
            made.save()
            print(f"{name}: {made.url}")
    except Exception as error:  # the network, the server's refusals
        raise StageError(f"Weights & Biases: {error} (offline runs are sent by `wandb sync` first)") from error
    return 0


def _write(logged: Logged, source: Path, output: Path | None) -> int:
    """Write the definition as the client would send it, with what it is made from."""
    workspace, report = definition(logged)
    specs = {"workspace": internals.wandb_definition(workspace), "report": internals.wandb_definition(report)}
    file = output or (source / "wandb" / "dashboard.json" if source.is_dir() else source)
    write_json(file, {"logged": asdict(logged), **specs})
    print(f"No key was found. The definition is in {file}")
    print(f"To send it, on any machine with a key: python -m qurating.dashboard {file}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
