"""Sentences about what an analysis left out, and what speaks against trusting the ratings."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qurating.analysis.rated import ALL, DOMAIN, Rated
from qurating.analysis.raters import calibration_error

MIN_SEQUENCES = 30  # of a domain whose spread and number of different ratings are judged
POOR_AGREEMENT = 0.7  # of the two orders of a pair: below it, at least three answers in ten follow the place
BAD_CALIBRATION, MIN_CALIBRATED = 0.1, 100  # error of a rater's probabilities that is told, and pairs to tell it from
_NUM_NAMED = 3


def named(names: Sequence[str]) -> str:
    """Some names for a sentence: the first few, and how many more."""
    more = len(names) - _NUM_NAMED
    return ", ".join(names[:_NUM_NAMED]) + (f" and {more:,} more" if more > 0 else "")


def of_values(rated: Rated) -> list[str]:
    """Ratings that are not finite."""
    found = []
    for criterion, values in rated.ratings.items():
        bad = int((~np.isfinite(values)).sum())
        if bad:
            found.append(f"{bad:,} of {len(values):,} ratings by {criterion} are NaN or infinite, and are left out.")
    return found


def of_spread(by_group: pa.Table, min_spread: float, min_distinct: int) -> list[str]:
    """Criteria that are constant, and domains within which the ratings hardly differ.

    Args:
        by_group: the table of `groups.by_group`.
        min_spread: of the standard deviation within a domain, as a share of that of the corpus.
        min_distinct: different ratings within a domain.
    """
    found = []
    whole = by_group.filter(pc.equal(by_group["grouping"], ALL))
    for criterion, sd, distinct in zip(
        *(whole[name].to_pylist() for name in ("criterion", "sd", "distinct")), strict=True
    ):
        if distinct < 2 or not sd > 0:
            found.append(
                f"All ratings by {criterion} are equal: they choose nothing, and their variance, correlations and "
                "normalisation are undefined."
            )
            continue
        rows = by_group.filter(
            pc.and_(
                pc.and_(pc.equal(by_group["grouping"], DOMAIN), pc.equal(by_group["criterion"], criterion)),
                pc.greater_equal(by_group["num"], MIN_SEQUENCES),
            )
        ).sort_by([("tokens", "descending")])
        for mask, said in (
            (pc.less(rows["sd"], min_spread * sd), f"less than {min_spread:g} standard deviations of the corpus"),
            (pc.less(rows["distinct"], min_distinct), f"fewer than {min_distinct} different values"),
        ):
            few = rows.filter(mask)["group"].to_pylist()
            if few:
                found.append(
                    f"The ratings by {criterion} hardly tell texts apart within {len(few):,} of {len(rows):,} domains "
                    f"({named(few)}): {said}."
                )
    return found


def of_variance(variance: pa.Table, most: float = 0.5) -> list[str]:
    """Criteria whose ratings mainly follow the domain or the length."""
    found = []
    for row in variance.to_pylist():
        if row["eta_squared"] is not None and row["eta_squared"] >= max(most, 2 * (row["by_chance"] or 0)):
            found.append(
                f"{100 * row['eta_squared']:.0f} % of the variance of {row['criterion']} is between groups of "
                f"{row['explained_by']}: the ratings tell these groups apart more than the texts within them."
            )
    return found


def of_preferences(preferences: pa.Table) -> list[str]:
    """Criteria whose ratings agree with the judge across domains, and not clearly within."""
    found = []
    for criterion in pc.unique(preferences["criterion"]).to_pylist():
        rows = {
            row["where"]: row for row in preferences.filter(pc.equal(preferences["criterion"], criterion)).to_pylist()
        }
        within, across = rows["within"], rows["across"]
        if within["auc"] is None or across["auc"] is None:
            continue
        if within["low"] <= 0.5 < across["low"]:
            found.append(
                f"The ratings by {criterion} agree with the judge across domains (AUC {across['auc']:.2f}), and within "
                f"them not clearly better than by chance ({within['auc']:.2f}, from {within['low']:.2f} to "
                f"{within['high']:.2f}, {within['num_pairs']:,} pairs)."
            )
    return found


def of_raters(tables: Mapping[str, pa.Table]) -> list[str]:
    """A judge whose two orders disagree, a rater no better than chance or badly calibrated, a scorer that cannot order.

    Args:
        tables: those of `raters.tables`.
    """
    return [
        *_orders(_of_all(tables["judge"])),
        *_accuracy(_of_all(tables["rater_accuracy"])),
        *_calibration(tables["rater_calibration"].to_pylist()),
        *_scorers(_of_all(tables["scorer"])),
    ]


def _of_all(table: pa.Table) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = table.filter(pc.equal(table["grouping"], ALL)).to_pylist()
    return found


def _names(rows: Sequence[Mapping[str, Any]], key: str) -> Callable[[Mapping[str, Any]], str]:
    """What to add to "the judge" or "the rater" of a row: the artifact, where there are several."""
    several = len({row[key] for row in rows}) > 1
    return lambda row: f" ({row[key]})" if several else ""


def _orders(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    found, name = [], _names(rows, "judgments")
    for row in rows:
        if row["orders_agree"] is None or (row["low"] > 0.5 and row["orders_agree"] >= POOR_AGREEMENT):
            continue
        what = "which is little (50 % by chance)"
        if row["low"] <= 0.5:
            what = "less than by chance (50 %)" if row["high"] < 0.5 else "not clearly more than by chance (50 %)"
        found.append(
            f"The judge{name(row)} prefers the same text in both orders of a pair by {row['criterion']} in "
            f"{_measured(row, 'orders_agree')} of {row['num_pairs']:,} pairs, {what}: its preferences depend on which "
            "text it reads first."
        )
    return found


def _accuracy(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    found, name = [], _names(rows, "rater")
    for row in rows:
        of = f"by {row['criterion']}"
        if row["accuracy"] is None:
            found.append(
                f"The accuracy of the rater{name(row)} {of} is not known: it held out no pair of which the "
                "judge is confident."
            )
        elif row["low"] <= 0.5:
            found.append(
                f"The rater{name(row)} prefers the judge's text {of} in {_measured(row, 'accuracy')} of "
                f"{row['num_pairs']:,} held-out pairs, not clearly more than by chance (50 %)."
            )
    return found


def _calibration(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    found, name = [], _names(rows, "rater")
    for rater, criterion in dict.fromkeys((row["rater"], row["criterion"]) for row in rows):
        own = [row for row in rows if (row["rater"], row["criterion"]) == (rater, criterion)]
        error, surer, number = calibration_error(own)
        if error is None or surer is None or number < MIN_CALIBRATED or error < BAD_CALIBRATION:
            continue
        is_surer, look = ("surer", "larger") if surer > 0 else ("less sure", "smaller")
        found.append(
            f"The rater{name(own[0])} is {is_surer} than the judge by {criterion}: the probability that it gives "
            f"the text it prefers is off by {100 * error:.0f} percentage points on average ({number:,} held-out "
            f"pairs). Differences of its ratings look {look} than they are."
        )
    return found


def _scorers(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    found, name = [], _names(rows, "scorer")
    for row in rows:
        if row["low"] is None or row["low"] <= 0:
            interval = "" if row["low"] is None else f" (from {row['low']:.2f} to {row['high']:.2f})"
            found.append(
                f"The scorer{name(row)} does not order held-out sequences clearly better than by chance: "
                f"Spearman's ρ is {row['spearman']:.2f}{interval} for {row['num_sequences']:,} of them."
            )
    return found


def _measured(row: Mapping[str, Any], name: str) -> str:
    """A share with its interval, in percent."""
    return f"{100 * row[name]:.0f} % ({100 * row['low']:.0f} to {100 * row['high']:.0f} %)"
