"""All figures of an analysis of a rated corpus, as files."""

import hashlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from qurating.analysis.rated import DOMAIN
from qurating.reports import style
from qurating.reports.analyses import raters, ratings, selections, trainings

MAX_SUBSETS = 12  # in a figure
_OF_RATINGS = ("variance", "preferences", "first_window", "correlations", "clusters")  # tables with a figure
_OF_SELECTIONS = ("overlap", "temperatures", "normalisation", "duplicates")
_OF_RATERS = ("judge", "rater_accuracy", "rater_calibration", "annotated")


def draw(
    folder: Path, tables: Mapping[str, pa.Table], shown_subsets: Mapping[str, str], labels: Mapping[str, str]
) -> int:
    """Write the figures of the tables that have something to show, `folder`/<name>.png; returns their number.

    Ratings and retention have a figure for each grouping: the domain, the topic cluster, and label columns.

    Args:
        tables: by name, see docs/analysis.md.
        shown_subsets: what figures call the subsets, by name; only the first `MAX_SUBSETS` are shown.
        labels: what that of the checks calls them: it shows all.
    """
    chosen = [*shown_subsets][:MAX_SUBSETS]
    tables = {
        name: _renamed(table, labels) if name == "duplicates" else _renamed(_only(table, chosen), shown_subsets)
        for name, table in tables.items()
    }
    groupings = set(pc.unique(tables["by_group"]["grouping"]).to_pylist()) - {"all", DOMAIN}
    drawn = {
        "by_group": ratings.by_group(tables["by_group"], DOMAIN),
        "retention": selections.retention(tables["retention"], DOMAIN),
        **{f"by_{_word(name)}": ratings.by_group(tables["by_group"], name) for name in groupings},
        **{f"retention_by_{_word(name)}": selections.retention(tables["retention"], name) for name in groupings},
        **{name: getattr(ratings, name)(tables[name]) for name in _OF_RATINGS},
        **{name: getattr(selections, name)(tables[name]) for name in _OF_SELECTIONS},
        **{name: getattr(raters, name)(tables[name]) for name in _OF_RATERS},
        "results": trainings.results(tables["results"]),
        "curves": trainings.curves(tables["curves"], tables["results"]),
    }
    shown = {name: figure for name, figure in drawn.items() if figure is not None}
    for name, figure in shown.items():
        style.save(figure, folder / f"{name}.png")
    return len(shown)


def _word(column: str) -> str:
    """A column's name in that of a file; a long or strange one ends in a hash, so that two stay apart."""
    word = re.sub(r"\W+", "_", column)[:40]
    return word if word == column else f"{word}_{hashlib.sha256(column.encode('utf-8', 'replace')).hexdigest()[:6]}"


def _only(table: pa.Table, subsets: Sequence[str]) -> pa.Table:
    """A table with the rows of these subsets, if it is about subsets."""
    for column in _columns_of_subsets(table):
        table = table.filter(pc.is_in(table[column], value_set=pa.array(subsets, pa.string())))
    return table


def _columns_of_subsets(table: pa.Table) -> list[str]:
    pair = ["first", "second"] if "shared_tokens" in table.column_names else []
    return [*(["subset"] if "subset" in table.column_names else []), *pair]


def _renamed(table: pa.Table, labels: Mapping[str, str]) -> pa.Table:
    """A table with the labels of subsets in place of their names."""
    for column in _columns_of_subsets(table):
        shown = [labels.get(name, name) for name in table[column].to_pylist()]
        table = table.set_column(table.column_names.index(column), column, pa.array(shown, pa.string()))
    return table
