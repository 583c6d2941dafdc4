"""The figures of a comparison, with their numbers read from the artifacts of the cells."""

import csv
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from qurating.artifacts.files import row_files
from qurating.evaluation.comparison import Cell, Rated, selected_tokens, subset_of, tokens_by_domain
from qurating.evaluation.curves import heldout_loss, training_loss
from qurating.reports import figures, subset_figures
from qurating.reports.rated_rows import RatedRows, rank_correlations
from qurating.reports.table import domains_by_size
from qurating.selection.statistics import normalise
from qurating.selection.subsets import jaccard, read_members

# a figure with more would be unreadable; the table shows all
MAX_METHODS, MAX_DOMAINS, MAX_CURVES, MAX_PANELS = 24, 12, 12, 8
TRAJECTORY = ("step", "training_loss", "target_loss")
Floats = npt.NDArray[np.float64]
Keep = Callable[..., None]  # (name, figure, more=number left out)


def shown(rows: Sequence[Any], limit: int = MAX_METHODS) -> list[int]:
    """Positions of the rows that fit in a figure: from the top (baselines, then the best) and the bottom."""
    if len(rows) <= limit:
        return list(range(len(rows)))
    return [*range(limit // 2), *range(len(rows) - (limit - limit // 2), len(rows))]


def draw_results(rows: list[dict[str, Any]], cells: list[Cell], keep: Keep) -> None:
    """Draw the change of perplexity, overall and by domain, and the training losses."""
    compared = [row for row in rows if row["change_percent"] is not None]
    compared = [compared[place] for place in shown(compared)]
    if compared:
        names = [row["method"] for row in compared]
        spans = [(_nan(row["change_low"]), _nan(row["change_high"])) for row in compared]
        keep("changes", figures.changes(names, [row["change_percent"] for row in compared], spans))
        domains = domains_by_size(compared)[:MAX_DOMAINS]
        table = [[row["domains"].get(domain, {}) for domain in domains] for row in compared]
        values = np.array([[_nan(entry.get("change_percent")) for entry in line] for line in table])
        sure = [[_excludes_zero(entry) for entry in line] for line in table]
        if domains:
            unit = "change of perplexity, %"
            keep("domains", figures.heat_map(values, names, domains, unit=unit, form="{:+.1f}", bold=np.array(sure)))
    trained = {cell.method: cell.folders["train_lm"] for cell in cells if "train_lm" in cell.folders}
    curves = {name: found for name, model in trained.items() if (found := training_loss(model)) is not None}
    if curves:
        by_tokens = all(curve.tokens is not None for curve in curves.values())
        lines = {
            name: (curve.steps if curve.tokens is None or not by_tokens else curve.tokens, curve.nats_per_token)
            for name, curve in curves.items()
        }
        names = list(lines)
        named = [names[place] for place in shown(names, MAX_CURVES)]
        unit = "tokens seen" if by_tokens else "optimizer steps"
        keep("loss", figures.curves(lines, named, unit), more=len(names) - len(named))


def draw_heldout(cells: Sequence[Cell], part: str, keep: Keep) -> None:
    """Draw the held-out loss of each cell along its training, on the documents of its evaluation or of a part of it."""
    lines = {cell.method: found for cell in cells if (found := _heldout_curve(cell, part)) is not None}
    if lines:
        names = list(lines)
        named = [names[place] for place in shown(names, MAX_CURVES)]
        drawn = figures.curves(lines, named, "tokens trained on", "held-out loss")
        keep("heldout_loss", drawn, more=len(names) - len(named))


def _heldout_curve(cell: Cell, part: str) -> tuple[Floats, Floats] | None:
    """(tokens trained on, nats per token); None without an evaluation or points, or if no token is left."""
    if not {"train_lm", "evaluate"} <= {*cell.folders}:
        return None
    points = heldout_loss(cell.folders["train_lm"], cell.folders["evaluate"], part)
    if points is None:
        return None
    return np.array([each.tokens for each in points], float), np.array([each.nats_per_token for each in points])


def _excludes_zero(entry: Mapping[str, Any]) -> bool:
    return _nan(entry.get("change_high")) < 0 or _nan(entry.get("change_low")) > 0


def _nan(value: float | None) -> float:
    return float("nan") if value is None else value


def draw_shares(rows: list[dict[str, Any]], cells: list[Cell], keep: Keep) -> None:
    """Draw the share of each domain in the corpus and in each subset."""
    corpora = list(dict.fromkeys(c.folders["prepare_corpus"] for c in cells if "prepare_corpus" in c.folders))
    bars: list[tuple[str, dict[str, int]]] = []
    for corpus in corpora[:2]:
        totals: dict[str, int] = {}
        for file in row_files(corpus / "train"):
            for domain, tokens in tokens_by_domain(pq.read_table(file, columns=["domain", "length"])).items():
                totals[domain] = totals.get(domain, 0) + tokens
        bars.append((f"corpus: {corpus.name}" if len(corpora) > 1 else "whole corpus", totals))
    chosen = [cells[place] for place in shown(rows)]
    bars += [(cell.method, found) for cell in chosen if (found := selected_tokens(cell))]
    if not bars:
        return
    size: dict[str, int] = {}
    for _, totals in bars[: max(1, len(corpora[:2]))]:
        for domain, tokens in totals.items():
            size[domain] = size.get(domain, 0) + tokens
    ranked = sorted(size, key=lambda name: (-size[name], name))
    domains = ranked if len(ranked) <= MAX_DOMAINS else ranked[: MAX_DOMAINS - 1]
    table = np.array([[totals.get(domain, 0) for domain in domains] for _, totals in bars], dtype=np.float64)
    whole = np.array([sum(totals.values()) for _, totals in bars], dtype=np.float64)
    rest = whole - table.sum(axis=1)
    if (rest > 0).any():
        domains, table = [*domains, "all other domains"], np.column_stack([table, rest])
    keep("shares", figures.shares([name for name, _ in bars], domains, 100 * table / np.maximum(whole, 1)[:, None]))


def draw_overlap(cells: Sequence[Cell], keep: Keep) -> None:
    """Draw the overlap of every two subsets of one corpus."""
    chosen = [(cell, subset) for cell in cells if (subset := subset_of(cell)) and "prepare_corpus" in cell.folders]
    corpora = [cell.folders["prepare_corpus"] for cell, _ in chosen]
    if not chosen or len(set(corpora)) > 1:
        return
    sizes = [pq.read_metadata(file).num_rows for file in row_files(corpora[0] / "train")]
    distinct: dict[Path, str] = {}
    for cell, subset in chosen:
        distinct.setdefault(subset, cell.method)
    named = [(name, folder) for folder, name in distinct.items()]
    named = [named[place] for place in shown(named, MAX_DOMAINS)]
    if len(named) < 2:
        return
    members = [read_members(folder, corpora[0], sizes) for _, folder in named]
    table = np.array([[jaccard(a, b) for b in members] for a in members])
    keep("overlap", subset_figures.overlaps([name for name, _ in named], table))


def draw_rated(number: int, rows: RatedRows, rated: Rated, cells: Sequence[Cell], keep: Keep) -> None:
    """Draw one artifact of ratings: by domain, their correlations, and the ratings of what each selection took."""
    names, counts = np.unique(rows.domains.astype(str), return_counts=True)
    largest = [str(names[i]) for i in np.argsort(-counts, kind="stable")]
    keep(
        f"ratings_{number}",
        figures.boxes(rows.ratings, rows.domains, largest[:MAX_DOMAINS]),
        more=len(largest) - MAX_DOMAINS,
    )
    columns = {**rows.ratings, "length in tokens": rows.lengths}
    correlations = rank_correlations(columns)
    # the correlation of a column with itself says nothing
    np.fill_diagonal(correlations, np.nan)
    rho = figures.heat_map(correlations, list(columns), list(columns), unit="Spearman's ρ", form="{:+.2f}", limit=1.0)
    keep(f"correlations_{number}", rho)
    # a uniform cell has no ratings, but it selects from the same corpus
    using = [c for c in cells if "select" in c.folders and c.folders.get("prepare_corpus") == rated.corpus]
    using = [c for c in using if c.folders.get(rated.stage, rated.folder) == rated.folder]
    using = [using[place] for place in shown(using)]
    inside = {cell.method: _is_selected(cell, rows) for cell in using}
    inside = {method: chosen for method, chosen in inside.items() if chosen.sum() >= 2}
    if inside:
        standard = {**rows.ratings, "length in tokens": _standardised(rows.lengths)}
        means = np.array([[values[chosen].mean() for values in standard.values()] for chosen in inside.values()])
        unit = "mean of the subset,\nstandard deviations"
        keep(f"selected_{number}", figures.heat_map(means, list(inside), list(standard), unit=unit, form="{:+.2f}"))
    panels = []
    for cell in using:
        criterion = (cell.manifests["select"].get("config") or {}).get("criterion")
        if isinstance(criterion, str) and criterion in rows.ratings and cell.method in inside:
            values, chosen = rows.ratings[criterion], inside[cell.method]
            panels.append((cell.method, criterion, values[chosen], values[~chosen]))
    if panels:
        keep(f"inside_{number}", figures.inside_outside(panels[:MAX_PANELS]), more=len(panels) - MAX_PANELS)


def draw_annotation(number: int, folder: Path, keep: Keep) -> None:
    """Draw the annotated scores of the proxy set by domain, and the training losses of the proxy model."""
    table = pq.read_table(folder / "annotation.parquet", columns=["domain", "lqs"])
    domains = table["domain"].to_numpy(zero_copy_only=False)
    names, counts = np.unique(domains.astype(str), return_counts=True)
    largest = [str(names[i]) for i in np.argsort(-counts, kind="stable")][:MAX_DOMAINS]
    scores = {"lqs": normalise(table["lqs"].to_numpy())}
    keep(f"annotation_{number}", figures.boxes(scores, domains, largest, of="the mean of the proxy set"))
    if (folder / "trajectory.csv").is_file():
        with open(folder / "trajectory.csv", newline="", encoding="utf-8") as stream:
            lines = list(csv.DictReader(stream))
        columns = {key: [_nan(float(line[key]) if line[key] else None) for line in lines] for key in TRAJECTORY}
        keep(f"trajectory_{number}", figures.trajectory(*(np.array(columns[key]) for key in TRAJECTORY)))


def _is_selected(cell: Cell, rows: RatedRows) -> npt.NDArray[np.bool_]:
    subset = subset_of(cell)
    assert subset is not None
    ids = pq.read_table(subset / "subset.parquet", columns=["id"])["id"]
    return np.isin(rows.ids, ids.cast(pa.int64()).to_numpy())


def _standardised(values: npt.NDArray[np.int64]) -> Floats:
    return (values - values.mean()) / (values.std() or 1.0)
