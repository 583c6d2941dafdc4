"""The tables of an analysis, as rows for the page: only the largest groups, numbers in five digits, names cut."""

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from qurating.runtime.errors import StageError

MAX_GROUPS = 30  # of each grouping that are shown
MAX_PER_CURVE = 100
MAX_POINTS = 12_000  # of curves, in all
MIN_POINTS = 8  # of each, however many there are
MAX_CHARACTERS = 300  # of a name; corpora have hostile ones

Rows = list[dict[str, Any]]

# Each table with its columns, and the one of them that holds a domain, or a group of the grouping beside it
COLUMNS = {
    "by_group": "grouping group criterion num tokens mean sd distinct p5 p25 p50 p75 p95",
    "variance": "criterion explained_by eta_squared",
    "preferences": "criterion where num_pairs auc low high",
    "first_window": "criterion num_documents pearson mean_absolute_difference_sd",
    "correlations": "first second pearson spearman",
    "clusters": "cluster top_terms num",
    "percentiles": "criterion domain percentile id rating",
    "retention": "grouping group subset tokens kept_tokens share_kept share_of_subset share_of_corpus",
    "overlap": "first second shared_tokens share by_chance",
    "temperatures": "criterion temperature domain share",
    "normalisation": "criterion share_changed",
    "duplicates": "subset near_duplicate_share contaminated_share",
    "judge": "judgments mode criterion grouping group num_pairs orders_agree low high positional_bias confident "
    "longer_preferred num_triples transitive num_ranked kendall_tau",
    "judge_compared": "judgments mode compared_with compared_mode criterion num_pairs agree correlation kendall_tau "
    "compared_kendall_tau",
    "rater_accuracy": "rater criterion grouping group num_pairs accuracy low high",
    "rater_calibration": "rater criterion num_pairs predicted judged",
    "scorer": "scorer grouping group num_sequences spearman low high mse mse_of_the_mean top_fraction top_f1 "
    "top_f1_by_chance",
    "annotated": "annotation criterion id domain annotated predicted held_out",
    "results": "number method is_uniform state tokens num_seeds part loss loss_low loss_high difference difference_low "
    "difference_high p_holm token_factor token_factor_low token_factor_high token_factor_bound token_factor_from "
    "num_checked near_duplicate_share contaminated_share",
    "curves": "number replicate kind tokens nats_per_token",
}

# Their groups are not those of the corpus: shown are the largest by a column; those of `annotated` are all
OWN_GROUPS = {"judge": "num_pairs", "rater_accuracy": "num_pairs", "scorer": "num_sequences", "annotated": None}
OPTIONAL = {"variance": "by_chance"}


class Groups(NamedTuple):
    """The groups of a grouping that are shown, the largest first, and how many there are."""

    shown: list[str]
    num: int


def cut(name: str) -> str:
    """A name of at most `MAX_CHARACTERS`; a longer one ends in a hash, so that two long names stay apart."""
    if len(name) <= MAX_CHARACTERS:
        return name
    digest = hashlib.sha256(name.encode("utf-8", "surrogatepass")).hexdigest()[:8]
    return f"{name[: MAX_CHARACTERS - 10]}…{digest}"


def strings(column: pa.ChunkedArray) -> list[str | None]:
    """A column of text. Bytes that are no UTF-8 become visible escapes (`\\xff`); Parquet does not check them."""
    try:
        return column.cast(pa.string(), safe=False).to_pylist()
    except (UnicodeDecodeError, pa.ArrowInvalid):
        raw = column.cast(pa.binary()).to_pylist()
        return [None if value is None else value.decode("utf-8", "backslashreplace") for value in raw]


def values(column: pa.ChunkedArray) -> list[Any]:
    """A column as plain values: names cut, floats in five significant digits, ids as text.

    Ids are 64-bit integers, which JavaScript's numbers cannot hold.
    """
    kind = column.type.value_type if pa.types.is_dictionary(column.type) else column.type
    if pa.types.is_floating(kind):
        return [None if value is None else float(f"{value:.5g}") for value in column.to_pylist()]
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind):
        return column.to_pylist()
    return [None if value is None else cut(value) for value in strings(column)]


def _largest(table: pa.Table, size: str = "tokens") -> dict[str, Groups]:
    """The groups of each grouping by size, from a table with the columns grouping, group, and that of sizes."""
    sizes = table.group_by(["grouping", "group"]).aggregate([(size, "max")]).sort_by([(f"{size}_max", "descending")])
    found: dict[str, list[str]] = {}
    for grouping, group in zip(strings(sizes["grouping"]), strings(sizes["group"]), strict=True):
        if grouping is not None and group is not None:
            found.setdefault(cut(grouping), []).append(cut(group))
    return {grouping: Groups(groups[:MAX_GROUPS], len(groups)) for grouping, groups in found.items()}


def _of_shown_groups(table: pa.Table, groups: dict[str, Groups]) -> pa.Table:
    """The rows of shown groups; `domain` and `cluster` are columns of their own in some tables."""
    for column in ("domain", "cluster"):
        if column in table.column_names and column in groups:
            shown = set(groups[column].shown)
            # only the distinct names are compared in Python: there may be millions of rows
            names = pc.unique(table[column])
            kept = [cut(name) in shown if name is not None else False for name in strings(pa.chunked_array([names]))]
            table = table.filter(pc.is_in(table[column], value_set=names.filter(pa.array(kept, pa.bool_()))))
    if "grouping" in table.column_names:
        pairs = zip(values(table["grouping"]), values(table["group"]), strict=True)
        table = table.filter(pa.array([name in groups and group in groups[name].shown for name, group in pairs]))
    return table


def _thinned(curves: pa.Table) -> pa.Table:
    """Curves of at most `MAX_POINTS` points: of each evenly spaced ones, the first and the last among them."""
    keys = list(zip(*(curves[name].to_pylist() for name in ("number", "replicate", "kind")), strict=True))
    places: dict[tuple[Any, ...], list[int]] = {}
    for place, key in enumerate(keys):
        places.setdefault(key, []).append(place)
    each = max(MIN_POINTS, min(MAX_PER_CURVE, MAX_POINTS // max(1, len(places))))
    kept = [
        own[number]
        for own in places.values()
        for number in np.unique(np.linspace(0, len(own) - 1, min(each, len(own))).round().astype(int))
    ]
    return curves.take(sorted(kept))


def read(folder: Path) -> tuple[dict[str, Rows | None], dict[str, Groups]]:
    """The tables of `folder`/tables and the groups that are shown. A table without rows, or without a file, is None.

    Raises:
        StageError: a table lacks a column.
    """
    found: dict[str, pa.Table | None] = {}
    for name, columns in COLUMNS.items():
        file = folder / "tables" / f"{name}.parquet"
        table = pq.read_table(file) if file.exists() else None
        missing = set() if table is None else set(columns.split()) - set(table.column_names)
        if missing:
            raise StageError(f"{file} has no column {', '.join(sorted(missing))}. Is it of another version?")
        found[name] = table if table is not None and len(table) else None
    sized = next((found[name] for name in ("by_group", "retention") if found[name] is not None), None)
    groups = {} if sized is None else _largest(sized)
    rows = {name: None if table is None else _rows(name, table, groups) for name, table in found.items()}
    return rows, groups


def _rows(name: str, table: pa.Table, groups: dict[str, Groups]) -> Rows:
    if name == "curves":
        table = _thinned(table)
    elif name not in OWN_GROUPS:
        table = _of_shown_groups(table, groups)
    elif size := OWN_GROUPS[name]:
        table = _of_shown_groups(table, _largest(table, size))
    columns = {column: values(table[column]) for column in COLUMNS[name].split()}
    for column in OPTIONAL.get(name, "").split():
        columns[column] = values(table[column]) if column in table.column_names else [None] * len(table)
    if "id" in columns:
        columns["id"] = [str(value) for value in columns["id"]]
    return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]
