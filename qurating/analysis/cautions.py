"""Sentences about what an analysis left out, and what speaks against trusting the ratings."""

from collections.abc import Sequence

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from qurating.analysis.rated import ALL, DOMAIN, Rated

MIN_SEQUENCES = 30  # of a domain whose spread and number of different ratings are judged
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
