"""Points of a loss along a training: sums over documents, or some of them, in any order of the rows."""

import math
from fractions import Fraction

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from qurating.metrics.loss_curve import SCHEMA, Point, loss_curve
from qurating.metrics.token_efficiency import tokens_to_reach

# document -> domain, tokens
DOCUMENTS = {"a": ("prose", 4), "b": ("code", 2), "c": ("prose", 1), "d": ("empty", 0)}
NLL = {1: {"a": 16.0, "b": 6.0, "c": 5.0, "d": 0.0}, 7: {"a": 8.0, "b": 3.0, "c": 1.0, "d": 0.0}}


def a_curve(nll: dict[int, dict[str, float]] = NLL) -> pa.Table:
    rows = [
        {
            "step": step,
            "tokens": 10 * step,
            "document_id": name,
            "domain": DOCUMENTS[name][0],
            "nll_nats": nats,
            "num_tokens": DOCUMENTS[name][1],
            "num_bytes": 3 * DOCUMENTS[name][1],
        }
        for step, by_name in nll.items()
        for name, nats in by_name.items()
    ]
    return pa.Table.from_pylist(rows, SCHEMA)


def test_every_token_counts_once_overall_and_by_domain() -> None:
    assert loss_curve(a_curve()) == [
        Point(1, 10, 27 / 7, 7, {"code": 3.0, "prose": 21 / 5}),
        Point(7, 70, 12 / 7, 7, {"code": 1.5, "prose": 9 / 5}),
    ]


def test_only_the_given_documents_count() -> None:
    assert loss_curve(a_curve(), {*DOCUMENTS, "elsewhere"} - {"a"}) == [
        Point(1, 10, 11 / 3, 3, {"code": 3.0, "prose": 5.0}),
        Point(7, 70, 4 / 3, 3, {"code": 1.5, "prose": 1.0}),
    ]
    assert [each.domains for each in loss_curve(a_curve(), DOCUMENTS.keys() - {"a", "c"})] == [
        {"code": 3.0},
        {"code": 1.5},
    ]


def test_without_a_token_there_is_no_loss() -> None:
    with pytest.raises(ValueError, match="no held-out token is left"):
        loss_curve(a_curve(), {"d", "elsewhere"})


@settings(max_examples=100, deadline=None)
@given(
    st.lists(st.floats(1e-3, 1e6), min_size=8, max_size=8), st.permutations(range(8)), st.sets(st.sampled_from("bcd"))
)
def test_the_order_of_rows_changes_no_bit(values: list[float], order: list[int], without: set[str]) -> None:
    kept = [name for name in DOCUMENTS if name not in without]
    nll = {step: dict(zip(DOCUMENTS, values[i : i + 4], strict=True)) for step, i in ((1, 0), (7, 4))}
    found = loss_curve(a_curve(nll), {*kept})
    assert loss_curve(a_curve(nll).take(pa.array(order)), {*kept}) == found
    for point in found:  # against exact sums
        total = sum(Fraction(nll[point.step][name]) for name in kept)
        count = sum(DOCUMENTS[name][1] for name in kept)
        assert point.nats_per_token == pytest.approx(float(total / count), rel=1e-14)


def test_a_curve_says_how_many_tokens_a_loss_takes() -> None:
    points = loss_curve(a_curve())
    found = tokens_to_reach(2.0, [each.tokens for each in points], [each.nats_per_token for each in points])
    share = (27 / 7 - 2.0) / (15 / 7)
    assert found.value == pytest.approx(np.exp((1 - share) * math.log(10) + share * math.log(70)))
