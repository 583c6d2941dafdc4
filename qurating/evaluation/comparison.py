"""The cells of a sweep side by side: what to call each, which baseline it is held against, and the table of results."""

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qurating.artifacts import lineage
from qurating.artifacts.files import read_json
from qurating.artifacts.identity import leaves
from qurating.artifacts.seeds import seed_for
from qurating.metrics import perplexity


@dataclass(frozen=True)
class Cell:
    """One cell of a sweep: the artifacts it used by stage, their manifests, and its name in tables and plots."""

    folders: Mapping[str, Path]
    manifests: Mapping[str, Mapping[str, Any]]
    method: str
    is_uniform: bool


@dataclass(frozen=True)
class Rated:
    """Ratings, or LQS scores, that cells used: the stage that made them, their folder, and their corpus'."""

    stage: str
    folder: Path
    corpus: Path


def distinct_ratings(cells: Iterable[Cell]) -> list[Rated]:
    """The ratings and scores that any of the cells used, each once."""
    return list(
        dict.fromkeys(
            Rated(stage, cell.folders[stage], cell.folders[lineage.CORPUS])
            for cell in cells
            for stage in lineage.RATING_STAGES
            if {stage, lineage.CORPUS} <= {*cell.folders}
        )
    )


def read_cells(given: Sequence[Mapping[str, Path | str | None]]) -> list[Cell]:
    """Read the manifests and name the cells; one that is given twice counts once.

    A cell is called by its selection's label and, where it is not shuffled, its ordering; cells that share a name get
    the settings in which they differ added to it.
    """
    cells: list[Cell] = []
    different = dict.fromkeys(
        tuple((stage, Path(folder)) for stage in lineage.CELL_STAGES if (folder := cell.get(stage)) is not None)
        for cell in given
    )
    for folders in different:
        manifests = {stage: read_json(folder / "manifest.json") for stage, folder in folders}
        select, order = (manifests.get(stage, {}).get("config") or {} for stage in ("select", "order"))
        label = str(select.get("label") or folders[-1][1].name)
        ordering = str(order.get("method") or "shuffle")
        uniform = label.lower() == "uniform" and ordering == "shuffle"
        if ordering != "shuffle":
            label += f", {ordering}" + (f" by {order['criterion']}" if order.get("criterion") else "")
            label += " (reversed)" if ordering == "curriculum" and order.get("descending") is False else ""
        cells.append(Cell(dict(folders), manifests, label, uniform))
    return _distinct(cells)


def settings(cell: Cell) -> dict[str, str]:
    """The settings that identify a cell, `stage.key` -> value."""
    found = {}
    for stage in lineage.CELL_STAGES:
        manifest = cell.manifests.get(stage, {})
        config = (manifest.get("identity") or {}).get("config") or manifest.get("config") or {}
        found.update({f"{stage}.{key}": str(value) for key, value in leaves(config).items()})
    return found


def _distinct(cells: list[Cell]) -> list[Cell]:
    """Cells with names that tell them apart."""
    groups: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.method].append(cell)
    names = [_suffixed(cell, groups[cell.method]) for cell in cells]
    taken = Counter(names)
    seen: Counter[str] = Counter()
    result = []
    for cell, name in zip(cells, names, strict=True):
        seen[name] += 1
        number = f" #{seen[name]}" if taken[name] > 1 else ""
        result.append(Cell(cell.folders, cell.manifests, name + number, cell.is_uniform))
    return result


def _suffixed(cell: Cell, alike: list[Cell]) -> str:
    if len(alike) == 1:
        return cell.method
    others = [settings(other) for other in alike]
    own = settings(cell)
    # one seed sets several stages: the last part of the key says it once
    varied = [key for key in sorted(own) if any(other.get(key) != own[key] for other in others) and len(own[key]) <= 24]
    # what all have, and have differently, says more than what one does without
    shared = [key for key in varied if all(key in other for other in others)]
    differing = {key.rsplit(".", 1)[-1]: own[key] for key in shared or varied}
    if not differing:
        name = str(list(cell.manifests.values())[-1].get("name", "")).rsplit("/", 1)[-1]
        return f"{cell.method} ({name})" if name else cell.method
    return cell.method + "".join(f", {key}={value}" for key, value in list(differing.items())[:3])


def documents(cell: Cell) -> perplexity.Documents | None:
    """The held-out documents of a cell with their losses; None if it was not evaluated."""
    if "evaluate" not in cell.folders:
        return None
    columns = ["document_id", "domain", "nll_nats", "num_tokens", "num_bytes"]
    table = pq.read_table(cell.folders["evaluate"] / "sequences.parquet", columns=columns)
    return perplexity.by_document(*(table[name].to_numpy(zero_copy_only=False) for name in columns))


def subset_of(cell: Cell) -> Path | None:
    """The subset that a cell's model was trained on: what was selected, or what a check left of it."""
    return cell.folders.get("check_subset") or cell.folders.get("select")


def selected_tokens(cell: Cell) -> dict[str, int]:
    """Tokens of the subset by domain; empty if the cell selected nothing."""
    if (subset := subset_of(cell)) is None:
        return {}
    table = pq.read_table(subset / "subset.parquet", columns=["domain", "length"])
    return tokens_by_domain(table)


def tokens_by_domain(table: Any) -> dict[str, int]:
    """Sum of `length` by `domain` of an Arrow table."""
    grouped = table.group_by("domain").aggregate([("length", "sum")])
    lengths = pc.cast(grouped["length_sum"], "int64").to_pylist()
    return dict(sorted(zip(map(str, grouped["domain"].to_pylist()), lengths, strict=True)))


def compare(cells: Sequence[Cell], *, num_resamples: int, seed: int) -> list[dict[str, Any]]:
    """The rows of the table, baselines first, then by perplexity.

    A cell is held against the uniform cell with which it shares most settings (its seed, its learning rate), on the
    same held-out documents. Keys of a row: method, is_reference, reference, tokens, perplexity, bits_per_byte,
    num_heldout_tokens, num_heldout_documents, change_percent, change_low, change_high, domains (the same of each),
    labels, language_model. A change is None where there is no baseline, an interval where there are too few documents.
    """
    measured = [documents(cell) for cell in cells]
    baselines = [index for index, cell in enumerate(cells) if cell.is_uniform and measured[index] is not None]
    references = [_reference(index, baselines, cells, measured) for index in range(len(cells))]
    rows = [_row(cell, found) for cell, found in zip(cells, measured, strict=True)]
    for reference in sorted({r for r in references if r is not None}):
        compared = [i for i, r in enumerate(references) if r == reference]
        base = measured[reference]
        assert base is not None
        for i in compared:
            rows[i]["reference"] = cells[reference].method
        others = [i for i in compared if i != reference]
        groups = {None: np.ones(len(base.ids), dtype=bool)} | {d: base.domains == d for d in sorted(set(base.domains))}
        for domain, chosen in groups.items():
            nll = np.stack([measured[i].nll_nats[chosen] for i in compared])  # type: ignore[union-attr]
            against, tokens = base.nll_nats[chosen], base.num_tokens[chosen]
            changes = perplexity.change_percent(nll, against, tokens)
            intervals = perplexity.bootstrap_change_percent(
                nll, against, tokens, num_resamples=num_resamples, seed=seed_for(seed, "analyse", "bootstrap")
            )
            for i, change, (low, high) in zip(compared, changes.tolist(), intervals.tolist(), strict=True):
                if i in others:
                    target = rows[i] if domain is None else rows[i]["domains"][domain]
                    target.update(change_percent=_finite(change), change_low=_finite(low), change_high=_finite(high))
    return sorted(rows, key=lambda row: (not row["is_reference"], row["perplexity"] is None, row["perplexity"] or 0.0))


def _reference(
    index: int, baselines: list[int], cells: Sequence[Cell], measured: Sequence[perplexity.Documents | None]
) -> int | None:
    """The baseline of a cell: itself if it is one, else of those on the same documents the one most like it."""
    if index in baselines:
        return index
    own, found = settings(cells[index]), measured[index]
    if found is None:
        return None

    def comparable(other: perplexity.Documents | None) -> bool:
        return (
            other is not None
            and np.array_equal(other.ids, found.ids)
            and np.array_equal(other.domains, found.domains)
            and np.array_equal(other.num_tokens, found.num_tokens)
        )

    like = [
        (sum(own.get(key) == value for key, value in settings(cells[b]).items()), -b)
        for b in baselines
        if comparable(measured[b])
    ]
    return -max(like)[1] if like else None


def labels_of(manifests: Iterable[Mapping[str, Any]]) -> list[str]:
    """The warnings that artifacts carry, each once."""
    return sorted({str(label) for manifest in manifests for label in manifest.get("labels") or []})


def _row(cell: Cell, found: perplexity.Documents | None) -> dict[str, Any]:
    unknown = {"change_percent": None, "change_low": None, "change_high": None}
    summary = perplexity.metrics(found) if found is not None else {"overall": {}, "domains": {}}
    tokens = selected_tokens(cell)
    return {
        "method": cell.method,
        "is_reference": cell.is_uniform and found is not None,
        "reference": None,
        "tokens": sum(tokens.values()) if tokens else None,
        **_measures(summary["overall"]),
        **unknown,
        "domains": {name: {**_measures(values), **unknown} for name, values in summary["domains"].items()},
        "labels": labels_of(cell.manifests.values()),
        "language_model": cell.manifests.get("train_lm", {}).get("name"),
    }


def _measures(summary: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "perplexity": _finite(summary.get("perplexity")),
        "bits_per_byte": _finite(summary.get("bits_per_byte")),
        "num_heldout_tokens": summary.get("num_tokens", 0),
        "num_heldout_documents": summary.get("num_documents", 0),
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
