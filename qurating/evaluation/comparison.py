"""The comparison of the cells of a sweep: their names, their baselines, and the table of results."""

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
from qurating.artifacts.seeds import replicate_of, seed_for
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
    """Ratings, or LQS scores, that cells used: the stage that made them, their folder, and that of their corpus."""

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
    """Read the manifests and name the cells; a cell that is given twice counts once.

    A cell has the name of its selection's label, with its ordering unless that is a shuffle. Cells of the same name get
    the settings in which they differ added to it.
    """
    cells: list[Cell] = []
    distinct = dict.fromkeys(
        tuple((stage, Path(folder)) for stage in lineage.CELL_STAGES if (folder := cell.get(stage)) is not None)
        for cell in given
    )
    for folders in distinct:
        manifests = {stage: read_json(folder / "manifest.json") for stage, folder in folders}
        label, uniform = label_of(manifests, folders[-1][1].name)
        cells.append(Cell(dict(folders), manifests, label, uniform))
    return with_distinct_names(cells)


def label_of(manifests: Mapping[str, Mapping[str, Any]], otherwise: str) -> tuple[str, bool]:
    """The name of a method by the manifests of its stages, and whether it is the baseline, uniform and shuffled.

    `otherwise` is the name if the selection has no label.
    """
    select, order = (manifests.get(stage, {}).get("config") or {} for stage in ("select", "order"))
    label = str(select.get("label") or otherwise)
    ordering = str(order.get("method") or "shuffle")
    uniform = label.lower() == "uniform" and ordering == "shuffle"
    if ordering != "shuffle":
        label += f", {ordering}" + (f" by {order['criterion']}" if order.get("criterion") else "")
        label += " (reversed)" if ordering == "curriculum" and order.get("descending") is False else ""
    return label, uniform


def settings(cell: Cell) -> dict[str, str]:
    """The settings that identify a cell, `stage.key` -> value; of a stage with a replicate's seed, both numbers."""
    found: dict[str, Any] = {}
    for stage in lineage.CELL_STAGES:
        manifest = cell.manifests.get(stage, {})
        config = (manifest.get("identity") or {}).get("config") or manifest.get("config") or {}
        found.update({f"{stage}.{key}": value for key, value in leaves(config).items()})
        seed, used = found.get(f"{lineage.CORPUS}.seed"), found.get(f"{stage}.seed")
        if isinstance(seed, int) and isinstance(used, int) and (number := replicate_of(seed, used)) is not None:
            found |= {f"{stage}.seed": seed, f"{stage}.replicate": number}
    if "rescore_proxy.denominator" in found:  # in place of the annotation's own
        found["annotate_proxy.denominator"] = found.pop("rescore_proxy.denominator")
    return {key: str(value) for key, value in found.items()}


def with_distinct_names(cells: Sequence[Cell]) -> list[Cell]:
    """Cells of the same name with the settings in which they differ, or a number, added to it."""
    groups: dict[str, list[Cell]] = defaultdict(list)
    for cell in cells:
        groups[cell.method].append(cell)
    suffixed = {id(cell): name for same in groups.values() for cell, name in zip(same, _suffixed(same), strict=True)}
    names = [suffixed[id(cell)] for cell in cells]
    taken = Counter(names)
    seen: Counter[str] = Counter()
    result = []
    for cell, name in zip(cells, names, strict=True):
        seen[name] += 1
        number = f" #{seen[name]}" if taken[name] > 1 else ""
        result.append(Cell(cell.folders, cell.manifests, name + number, cell.is_uniform))
    return result


def _suffixed(namesakes: Sequence[Cell]) -> list[str]:
    """The name of each of the cells of one name, with the settings in which they differ."""
    if len(namesakes) == 1:
        return [namesakes[0].method]
    every = [settings(cell) for cell in namesakes]
    counts = Counter(key for each in every for key in each)
    differing = {key for key in counts if len({each.get(key) for each in every}) > 1}
    names = []
    for cell, own in zip(namesakes, every, strict=True):
        # one seed sets several stages: the last part of the key names it once
        varied = [key for key in sorted(own) if key in differing and len(own[key]) <= 24]
        # a setting that all have with different values says more than one that some lack
        shared = [key for key in varied if counts[key] == len(every)]
        shown = {key.rsplit(".", 1)[-1]: own[key] for key in shared or varied}
        name = str(list(cell.manifests.values())[-1].get("name", "")).rsplit("/", 1)[-1]
        suffix = "".join(f", {key}={value}" for key, value in list(shown.items())[:3]) or (f" ({name})" if name else "")
        names.append(cell.method + suffix)
    return names


def documents(cell: Cell) -> perplexity.Documents | None:
    """The held-out documents of a cell with their losses; None if it was not evaluated."""
    if "evaluate" not in cell.folders:
        return None
    columns = ["document_id", "domain", "nll_nats", "num_tokens", "num_bytes"]
    table = pq.read_table(cell.folders["evaluate"] / "sequences.parquet", columns=columns)
    return perplexity.by_document(*(table[name].to_numpy(zero_copy_only=False) for name in columns))


def subset_of(cell: Cell) -> Path | None:
    """The subset that the model of a cell was trained on: the selected one, or the rest of it after a check."""
    return cell.folders.get("check_subset") or cell.folders.get("select")


def selected_tokens(cell: Cell) -> dict[str, int]:
    """Tokens of the subset by domain; empty for a cell without a subset."""
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

    A cell is compared with the uniform cell that shares most settings with it (seed, learning rate), on the same
    held-out documents. Keys of a row: method, is_reference, reference, tokens, perplexity, bits_per_byte,
    num_heldout_tokens, num_heldout_documents, change_percent, change_low, change_high, domains (the same for each),
    labels, language_model. A change is None without a baseline, its interval also with too few documents.
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
            reference_nll, tokens = base.nll_nats[chosen], base.num_tokens[chosen]
            changes = perplexity.change_percent(nll, reference_nll, tokens)
            intervals = perplexity.bootstrap_change_percent(
                nll, reference_nll, tokens, num_resamples=num_resamples, seed=seed_for(seed, "analyse", "bootstrap")
            )
            for i, change, (low, high) in zip(compared, changes.tolist(), intervals.tolist(), strict=True):
                if i in others:
                    target = rows[i] if domain is None else rows[i]["domains"][domain]
                    target.update(change_percent=_finite(change), change_low=_finite(low), change_high=_finite(high))
    return sorted(rows, key=lambda row: (not row["is_reference"], row["perplexity"] is None, row["perplexity"] or 0.0))


def _reference(
    index: int, baselines: list[int], cells: Sequence[Cell], measured: Sequence[perplexity.Documents | None]
) -> int | None:
    """The baseline of a cell: itself if it is one, else the baseline on the same documents with most equal settings."""
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

    equal_settings = [
        (sum(own.get(key) == value for key, value in settings(cells[b]).items()), -b)
        for b in baselines
        if comparable(measured[b])
    ]
    return -max(equal_settings)[1] if equal_settings else None


def labels_of(manifests: Iterable[Mapping[str, Any]]) -> list[str]:
    """The labels of artifacts, each once: warnings such as `simulated judge`."""
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
