"""Ratings by group, against numpy on each group."""

import numpy as np
import pytest
from rated_example import drawn, groups, rated

from qurating.analysis.groups import PERCENTILES, QUANTILES, by_group, percentiles


def test_each_group_has_the_numbers_of_its_ratings() -> None:
    given = drawn()
    found = by_group(given).to_pylist()
    assert {row["group"] for row in found if row["grouping"] == "domain"} == {"books", "web", "code"}
    for row in found:
        inside = np.ones(200, bool)
        if row["grouping"] == "domain":
            domains = given.groups["domain"]
            inside = domains.codes == domains.names.index(row["group"])
        values = given.ratings[row["criterion"]][inside]
        assert row["num"] == len(values)
        assert row["tokens"] == given.lengths[inside].sum()
        assert row["mean"] == pytest.approx(values.mean())
        assert row["sd"] == pytest.approx(values.std())
        assert row["distinct"] == len(np.unique(values))
        assert [row[f"p{q}"] for q in QUANTILES] == pytest.approx(np.percentile(values, QUANTILES))


def test_what_is_not_finite_or_in_no_group_does_not_count() -> None:
    clusters = groups(["x", "", "x", "y", "y"])
    values = [1.0, 2.0, np.nan, 0.1, 0.1]
    given = rated({"c": values}, ["a", "a", "a", "b", "b"], [1, 2, 4, 8, 16], {"cluster": clusters})
    rows = {(row["grouping"], row["group"]): row for row in by_group(given).to_pylist()}
    assert {key: (row["num"], row["tokens"]) for key, row in rows.items()} == {
        ("all", "all"): (4, 27),
        ("domain", "a"): (2, 3),
        ("domain", "b"): (2, 24),
        ("cluster", "x"): (1, 1),
        ("cluster", "y"): (2, 24),
    }
    assert rows["domain", "b"]["sd"] == 0
    assert rows["domain", "b"]["distinct"] == 1


def test_a_domain_without_a_rating_is_absent() -> None:
    given = rated({"c": [np.nan, 1.0], "d": [np.nan, np.inf]}, ["a", "b"])
    assert [(row["criterion"], row["group"]) for row in by_group(given).to_pylist()] == [("c", "all"), ("c", "b")]
    assert len(percentiles(given)) == len(PERCENTILES)


def test_percentiles_name_a_sequence_of_the_domain() -> None:
    given = drawn()
    domains = given.groups["domain"]
    found = percentiles(given).to_pylist()
    assert len(found) == 2 * 3 * len(PERCENTILES)
    for row in found:
        own = np.sort(given.ratings[row["criterion"]][domains.codes == domains.names.index(row["domain"])])
        assert row["rating"] == own[round(row["percentile"] / 100 * (len(own) - 1))]
        place = row["id"] - 1000
        assert domains.names[domains.codes[place]] == row["domain"]
        assert given.ratings[row["criterion"]][place] == row["rating"]
