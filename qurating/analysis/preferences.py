"""Whether ratings agree with the judge within a domain as well as across domains."""

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from qurating.analysis.rated import DOMAIN, Counts, Floats, Mask, Rated
from qurating.analysis.tables import from_rows
from qurating.artifacts.files import read_json
from qurating.artifacts.manifest import reference, referenced_name
from qurating.artifacts.seeds import seed_for
from qurating.metrics.held_out import PAIRS, SEQUENCES, split

PREFERENCES = pa.schema(
    [
        ("criterion", pa.string()),
        ("where", pa.string()),
        ("num_pairs", pa.int64()),
        ("auc", pa.float64()),
        ("low", pa.float64()),
        ("high", pa.float64()),
    ]
)
WITHIN, ACROSS = "within", "across"
MIN_PAIRS = 10  # of an AUC
_Z = 1.96  # standard errors in half a 95 % interval


class Judged(NamedTuple):
    """Judged pairs: `ids` of their sequences (P, 2); by criterion, `preference` (P,): p(B ≻ A), NaN without one."""

    ids: npt.NDArray[np.int64]
    preference: dict[str, Floats]


def read_judged(judgments: Path) -> Judged:
    """The pairs of an artifact of judgments, with all its criteria."""
    table = pq.read_table(judgments / "judgments.parquet")
    ids = table["indices"].combine_chunks().flatten().to_numpy().astype(np.int64).reshape(-1, 2)
    found = {}
    for name in table.column_names:
        if name.endswith("_average"):
            # (pairs, 2, 2); below zero without a judgment
            flat = table[name].combine_chunks().flatten().flatten().to_numpy(zero_copy_only=False)
            p = flat.astype(np.float64).reshape(-1, 2, 2)[:, 0, 1]
            found[name.removesuffix("_average")] = np.where(p < 0, np.nan, p)
    return Judged(ids, found)


def auc(preferred: Floats, other: Floats) -> tuple[float | None, float | None, float | None]:
    """The area under the ROC curve of the judge's preferences by the difference of two ratings, with a 95 % interval.

    Each pair counts in both orders, so that it does not matter which text is called A: with d_i = the preferred text's
    rating minus the other's, AUC = mean over all i, j of [d_i + d_j > 0] + ½ [d_i + d_j = 0]. The interval is that of a
    U-statistic, 2 · 1.96 · sd(h) / √P with h_i the mean over j, and at least 3 / P, the bound of what was never seen in
    P pairs; it takes pairs for independent. None for fewer than `MIN_PAIRS`.

    Args:
        preferred, other: (P,) ratings of the texts that the judge prefers, and of the others.
    """
    difference = preferred - other
    if len(difference) < MIN_PAIRS:
        return None, None, None
    ascending = np.sort(difference)
    above = len(ascending) - np.searchsorted(ascending, -difference, side="right")
    equal = np.searchsorted(ascending, -difference, side="right") - np.searchsorted(ascending, -difference, side="left")
    h = (above + 0.5 * equal) / len(ascending)
    area = float(h.mean())
    half = max(2 * _Z * float(h.std(ddof=1)) / np.sqrt(len(h)), 3 / len(h))
    return area, max(0.0, area - half), min(1.0, area + half)


def preferences(
    rated: Rated, judged: Judged, held_out: Callable[[str], Mask | None]
) -> tuple[pa.Table, int, list[str]]:
    """AUC of the judge's preferences by the ratings of the sequences, within domains and across (`PREFERENCES`).

    Args:
        rated: with the sequences of the pairs; pairs of other sequences are left out.
        held_out: which pairs (P,) the rater of a criterion was not trained on; None: unknown.

    Returns:
        the table; the number of pairs whose sequences are not in the corpus; the criteria whose pairs may include those
        that the rater was trained on.
    """
    rows = rated.rows_of(judged.ids)
    there = (rows >= 0).all(axis=1)
    domain = rated.groups[DOMAIN].codes
    table: list[tuple[object, ...]] = []
    trained_on = []
    for criterion, source in rated.sources.items():
        if source.criterion not in judged.preference:
            continue
        p = judged.preference[source.criterion]
        usable = there & ~np.isnan(p) & (p != 0.5)
        own = held_out(criterion)
        if own is None:
            trained_on.append(criterion)
        else:
            usable &= own
        chosen, prefers_b = rows[usable], p[usable] > 0.5
        ratings = rated.ratings[criterion][chosen] if len(chosen) else np.empty((0, 2))
        finite = np.isfinite(ratings).all(axis=1)
        chosen, prefers_b, ratings = chosen[finite], prefers_b[finite], ratings[finite]
        preferred = np.where(prefers_b, ratings[:, 1], ratings[:, 0])
        other = np.where(prefers_b, ratings[:, 0], ratings[:, 1])
        same = domain[chosen[:, 0]] == domain[chosen[:, 1]] if len(chosen) else np.zeros(0, bool)
        for where, mask in ((WITHIN, same), (ACROSS, ~same)):
            table.append((criterion, where, int(mask.sum()), *auc(preferred[mask], other[mask])))
    return from_rows(table, PREFERENCES), int((~there).sum()), trained_on


def of_judgments(with_ids: Callable[[Counts], Rated], judgments: Sequence[Path]) -> tuple[pa.Table, list[str]]:
    """The table of the preferences in the first artifact of judgments (`PREFERENCES`), and sentences about it.

    Args:
        with_ids: the rated sequences among some ids (P, 2), and maybe others.
    """
    if not judgments:
        return PREFERENCES.empty_table(), []
    judged = read_judged(judgments[0])
    rated = with_ids(judged.ids)

    @functools.cache
    def not_learned(criterion: str) -> Mask | None:
        return held_out(rated.sources[criterion].ratings, judgments[0], len(judged.ids), RATER)

    table, num_unknown, trained_on = preferences(rated, judged, not_learned)
    said = []
    if num_unknown:
        said.append(
            f"{num_unknown:,} of {len(judged.ids):,} judged pairs are of sequences that the corpus does not have, and "
            "are left out of the agreement with the judge."
        )
    if trained_on:
        said.append(
            f"The agreement with the judge by {', '.join(trained_on)} may include pairs that the rater was trained on."
        )
    return table, said


class Training(NamedTuple):
    """How ratings come from what a model learned: the stage that rates, its input with the model, the model's input."""

    stage: str
    model: str
    learned_from: str
    seed_by: tuple[str, str]


RATER = Training("rate", "rater", "judgments", PAIRS)
SCORER = Training("score", "scorer", "annotation", SEQUENCES)


def held_out(ratings: Path, source: Path, number: int, training: Training) -> Mask | None:
    """Which of the `number` pairs, or sequences, of `source` the model of some ratings was not trained on, (number,).

    All, if the ratings are of no such model, or of one that learned from something else; None if that cannot be told,
    as for an existing model.

    Args:
        source: judgments for `RATER`, an annotation for `SCORER`.
    """
    made = _manifest(ratings)
    if made is None:
        return None
    if made.get("stage") != training.stage:
        return np.ones(number, bool)
    name = made["inputs"].get(training.model)
    model = None if name is None else _manifest(ratings.parents[1] / referenced_name(name))
    own = _manifest(source)
    if model is None or own is None:
        return None
    if model["inputs"].get(training.learned_from) != reference(own["name"], own):
        return np.ones(number, bool)
    config = model["config"]
    mask = np.zeros(number, bool)
    mask[split(number, config["validation_fraction"], seed_for(config["seed"], *training.seed_by))[0]] = True
    return mask


def _manifest(folder: Path) -> dict[str, Any] | None:
    file = folder / "manifest.json"
    return read_json(file) if file.is_file() else None
