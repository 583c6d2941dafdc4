"""The share of variance that groups explain."""

import numpy as np
import pytest
from rated_example import drawn, groups, rated

from qurating.analysis.rated import Groups
from qurating.analysis.variance import eta_squared, length_deciles, variance


def test_eta_squared_is_the_variance_between_groups() -> None:
    given = drawn()
    domains = given.groups["domain"]
    values = given.ratings["style"]
    within = sum(((part := values[domains.codes == code]) - part.mean()) @ (part - part.mean()) for code in range(3))
    expected = 1 - within / ((values - values.mean()) @ (values - values.mean()))
    found, num_groups, number = eta_squared(values, domains)
    assert found == pytest.approx(expected)
    assert expected > 0.3  # by construction
    assert (num_groups, number) == (3, 200)


def test_a_shift_of_the_ratings_changes_nothing() -> None:
    given = drawn()
    one, _, _ = eta_squared(given.ratings["style"], given.groups["domain"])
    assert eta_squared(given.ratings["style"] + 1e6, given.groups["domain"])[0] == pytest.approx(one, rel=1e-6)


@pytest.mark.parametrize("values", [[0.1] * 4, [np.nan, np.nan, 0.3, np.inf]])
def test_of_constant_ratings_it_is_undefined(values: list[float]) -> None:
    assert eta_squared(np.array(values), groups(["a", "b", "a", "b"]))[0] is None


def test_a_sequence_alone_in_its_domain_is_explained_by_it() -> None:
    assert eta_squared(np.array([1.0, 2.0, 5.0]), groups(["a", "b", "c"]))[0] == pytest.approx(1)
    assert eta_squared(np.array([1.0, 2.0, 5.0]), groups(["a", "", "a"])) == (0.0, 1, 2)


def test_equal_lengths_share_a_decile() -> None:
    codes, names = length_deciles(np.array([7] * 50 + list(range(100, 150))))
    assert len(set(codes[:50].tolist())) == 1
    assert len(names) < 10
    assert length_deciles(np.array([3, 3])).names  # of one length


def test_the_table_has_every_grouping_and_what_chance_would_explain() -> None:
    labels = Groups(np.arange(200, dtype=np.int32) % 50, [f"l{number}" for number in range(50)])
    given = drawn().with_groups("lang", labels)
    rows = {(row["criterion"], row["explained_by"]): row for row in variance(given).to_pylist()}
    assert {by for _, by in rows} == {"domain", "length", "lang"}
    label = rows["facts", "lang"]
    assert label["by_chance"] == pytest.approx(49 / 199)
    assert label["eta_squared"] == pytest.approx(49 / 199, abs=0.1)  # the labels mean nothing


def test_without_variance_the_table_has_null() -> None:
    assert variance(rated({"c": [1.0, 1.0]}, ["a", "b"]))["eta_squared"].null_count == 2
