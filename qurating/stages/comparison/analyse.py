"""Compare the cells of a sweep: a table, plots, and one self-contained page that explains every number."""

import csv
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from qurating.artifacts import lineage
from qurating.artifacts.files import read_json, write_json
from qurating.evaluation import methods
from qurating.evaluation.comparison import Cell, compare, distinct_ratings, labels_of, read_cells
from qurating.evaluation.runs import runs_in
from qurating.reports import answer, page, style, table
from qurating.reports.figures import loss_by_tokens
from qurating.reports.rated_rows import excerpts, read_rated_rows
from qurating.reports.sweep_figures import (
    MAX_DOMAINS,
    MAX_METHODS,
    draw_annotation,
    draw_heldout,
    draw_overlap,
    draw_rated,
    draw_results,
    draw_shares,
)
from qurating.runtime.errors import StageError

PERCENTILES = (5, 30, 70, 95)
MAX_RATINGS = 3  # artifacts of ratings or scores that the page shows


def analyse(
    *,
    output: Path,
    cells: Sequence[Mapping[str, Path]],
    title: str,
    max_rated_rows: int,
    num_resamples: int,
    excerpt_characters: int,
    seed: int,
    about: str | None = None,
    failed: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Write `table.json`, `table.csv`, `answer.json`, `report.html` and `plots/*.png`.

    `answer.json` has the methods over their seeds, see `methods.rows`: empty where no cell was evaluated.

    Args:
        cells: stage -> folder of the artifact that the cell used; stages that the cell did not use are absent.
        title: of the page.
        max_rated_rows: rows of each ratings artifact that the distributions are computed from.
        num_resamples: of the paired bootstrap over held-out documents.
        excerpt_characters: shown of a document.
        seed: of the bootstrap.
        about: the part of the held-out text that methods are compared on over their seeds, a set or a domain of the
            evaluations; None: all.
        failed: cells without a result, which the page names as missing.

    Raises:
        StageError: no cell, or ratings that are not of their corpus.
    """
    if not cells:
        raise StageError("no cell to compare: run select, train_lm and evaluate before analyse")
    read = read_cells(cells)
    rows = compare(read, num_resamples=num_resamples, seed=seed)
    order = {row["method"]: place for place, row in enumerate(rows)}
    read.sort(key=lambda cell: order[cell.method])
    write_json(output / "table.json", rows)
    _write_csv(output / "table.csv", rows)
    figures: dict[str, dict[str, Any]] = {}

    def keep(name: str, figure: Any, **said: Any) -> None:
        figures[name] = {"image": style.save(figure, output / "plots" / f"{name}.png"), **said}

    answered = _methods(read, about or "")
    write_json(output / "answer.json", answered)
    with tqdm(total=5, desc="report", unit="part", mininterval=0.5) as progress:
        if answer.is_one(answered):
            keep("loss_by_tokens", loss_by_tokens(answer.losses(answered), "uniform"))
        draw_results(rows, read, keep)
        draw_heldout(read, about or "", keep)
        progress.update()
        draw_shares(rows, read, keep)
        draw_overlap(read, keep)
        progress.update()
        rated = []
        for number, used in enumerate(distinct_ratings(read)[:MAX_RATINGS]):
            sample = read_rated_rows(used.corpus, used.folder, max_rated_rows)
            draw_rated(number, sample, used, read, keep)
            rated.append(
                {
                    "number": number,
                    "stage": used.stage,
                    "name": str(read_json(used.folder / "manifest.json").get("name", used.folder.name)),
                    "num_rows": sample.num_rows,
                    "num_read": len(sample.ids),
                    "excerpts": {
                        c: excerpts(used.corpus, sample, c, PERCENTILES, excerpt_characters) for c in sample.ratings
                    },
                }
            )
        progress.update()
        annotations = _annotations(read)
        for number, annotation in enumerate(annotations[:MAX_RATINGS]):
            draw_annotation(number, annotation["folder"], keep)
        scorers = _read_each(read, "train_scorer", "validation.json")
        for number, scorer in enumerate(scorers[:MAX_RATINGS]):
            drawn = scorer["folder"] / "predicted_vs_annotated.png"
            if drawn.is_file():
                figures[f"scorer_{number}"] = {"image": drawn.read_bytes()}
        progress.update()
        content = {
            "title": title,
            "answer": answer.cells(answered) if answer.is_one(answered) else [],
            "sentences": answer.sentences(answered) if answer.is_one(answered) else [],
            "rows": rows,
            "failed": [*(failed or ())],
            "domains": table.domains_by_size(rows)[:MAX_DOMAINS],
            "num_domains": len(table.domains_by_size(rows)),
            "labels": labels_of(_artifacts(read)),
            "budgets_caution": table.budgets_caution(rows),
            "figures": figures,
            "rated": rated,
            "num_rated": len(distinct_ratings(read)),
            "judges": _read_each(read, "judge", "summary.json"),
            "raters": _read_each(read, "train_rater", "validation.json"),
            "annotations": annotations,
            "scorers": scorers,
            "artifacts": _artifacts(read),
            "package_sets": _package_sets(_artifacts(read)),
            "cells": read,
            "stages": [stage for stage in lineage.CELL_STAGES if any(stage in cell.folders for cell in read)],
            "num_resamples": num_resamples,
            "max_methods": MAX_METHODS,
            "seed_spread": _seed_spread(rows),
            "num_excluded": max(
                cell.manifests.get("evaluate", {}).get("counts", {}).get("excluded_documents", 0) for cell in read
            ),
            "seed": seed,
        }
        (output / "report.html").write_text(page.render(content), encoding="utf-8")
        progress.update()
    evaluated = sum(row["perplexity"] is not None for row in rows)
    return {"methods": len(rows), "evaluated": evaluated, "plots": len(figures)}


def _methods(cells: Sequence[Cell], part: str) -> list[dict[str, Any]]:
    """The table of methods over the evaluations of the cells."""
    folders = [cell.folders["evaluate"] for cell in cells if "evaluate" in cell.folders]
    return methods.rows(runs_in(folders, part))


def _write_csv(path: Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """The table, one row per method; the columns of a domain end in its name."""
    measures = ("perplexity", "bits_per_byte", "change_percent", "change_low", "change_high", "num_heldout_tokens")
    head = ["method", "reference", "tokens", *measures, "num_heldout_documents", "labels"]
    domains = table.domains_by_size(rows)
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow([*head, *(f"{measure} {domain}" for domain in domains for measure in measures)])
        for row in rows:
            flat = [*(row[key] for key in head[:-1]), "; ".join(row["labels"])]
            writer.writerow([*flat, *(row["domains"].get(d, {}).get(measure) for d in domains for measure in measures)])


def _read_each(cells: Sequence[Cell], stage: str, file: str) -> list[dict[str, Any]]:
    """A JSON file of each distinct artifact of a stage, with its name and config; absent files are skipped."""
    found = {cell.folders[stage]: cell.manifests[stage] for cell in cells if stage in cell.folders}
    return [
        {
            "name": str(manifest.get("name", folder.name)),
            "folder": folder,
            "config": manifest.get("config") or {},
            "content": read_json(folder / file),
        }
        for folder, manifest in found.items()
        if (folder / file).is_file()
    ]


def _annotations(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Each distinct annotation that a scorer learned from; one with another denominator has the settings of both."""
    own = [cell for cell in cells if "rescore_proxy" not in cell.folders]
    found = _read_each(own, "annotate_proxy", "summary.json")
    for cell in cells:
        for again in _read_each([cell], "rescore_proxy", "summary.json"):
            annotated = cell.manifests.get("annotate_proxy", {}).get("config") or {}
            if again["folder"] not in [each["folder"] for each in found]:
                found.append({**again, "config": {**annotated, **again["config"]}})
    return found


def _artifacts(cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """Each artifact that any cell used, once, in the order of the stages."""
    found: dict[Path, dict[str, Any]] = {}
    for stage in lineage.CELL_STAGES:
        for cell in cells:
            if stage in cell.folders:
                found.setdefault(cell.folders[stage], {"stage": stage, **cell.manifests[stage]})
    return list(found.values())


def _package_sets(artifacts: Sequence[Mapping[str, Any]]) -> list[tuple[dict[str, str], list[str]]]:
    """The distinct sets of package versions, each with the artifacts made with it."""
    sets: dict[tuple[tuple[str, str], ...], list[str]] = {}
    for artifact in artifacts:
        sets.setdefault(tuple(sorted((artifact.get("packages") or {}).items())), []).append(str(artifact.get("name")))
    return [(dict(packages), names) for packages, names in sets.items() if packages]


def _seed_spread(rows: Sequence[Mapping[str, Any]]) -> tuple[float, float] | None:
    """The lowest and the highest perplexity of the uniform cells; None for fewer than two cells."""
    uniform = [row["perplexity"] for row in rows if row["is_reference"] and row["perplexity"] is not None]
    return (min(uniform), max(uniform)) if len(uniform) > 1 else None
