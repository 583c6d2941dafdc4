"""The figures of a rater's validation against loops and known cases."""

import math
import re

import numpy as np
import pytest
from drawn_pairs import RNG, drawn

from qurating.metrics import rater


def test_the_report_counts_what_a_loop_counts() -> None:
    a, b, judged = drawn(60)
    domains = [[str(x), str(y)] for x, y in RNG.integers(0, 2, (60, 2))]
    lengths = RNG.integers(1, 50, (60, 2))
    orders = RNG.uniform(size=(60, 2, 2))
    found = rater.report(a, b, judged, 0.5, ["x", "y"], domains, lengths, orders)
    right: dict[str, list[bool]] = {"x": [], "y": [], "0": [], "1": [], "0.25-0.50": []}
    flips, longer = [], []
    for row in range(60):
        for c, name in enumerate("xy"):
            p = judged[row, c]
            if math.isnan(p):
                continue
            ok = (b[row, c] > a[row, c]) == (p > 0.5)
            if abs(2 * p - 1) >= 0.5:
                right[name].append(ok)
                if domains[row][0] == domains[row][1]:
                    right[domains[row][0]].append(ok)
            elif abs(2 * p - 1) >= 0.25:
                right["0.25-0.50"].append(ok)
            if name == "x":
                flips.append((orders[row, 0, 0] > 0.5) != (orders[row, 0, 1] > 0.5))
                if lengths[row, 0] != lengths[row, 1]:
                    longer.append((b[row, 0] > a[row, 0]) == (lengths[row, 1] > lengths[row, 0]))
    assert found["accuracy"] == {name: pytest.approx(np.mean(right[name])) for name in "xy"}
    assert found["num_pairs"] == {name: len(right[name]) for name in "xy"}
    for name in "01":
        assert found["by_domain"][name] == {
            "accuracy": pytest.approx(np.mean(right[name])),
            "num_pairs": len(right[name]),
        }
    assert found["by_confidence"]["0.25-0.50"]["num_pairs"] == len(right["0.25-0.50"])
    assert found["by_criterion"]["x"]["order_flips"]["share"] == pytest.approx(np.mean(flips))
    assert found["by_criterion"]["x"]["length"]["rater_prefers_longer"] == pytest.approx(np.mean(longer))


def test_exchanging_a_and_b_changes_nothing() -> None:
    a, b, judged = drawn(50)
    lengths = RNG.integers(1, 50, (50, 2))
    domains = [["d", "d"]] * 50
    one = rater.report(a, b, judged, 0.5, ["x", "y"], domains, lengths, None)
    other = rater.report(b, a, 1 - judged, 0.5, ["x", "y"], domains, lengths[:, ::-1], None)
    for found in (one, other):
        for name in "xy":
            del found["by_criterion"][name]["position"]
            del found["by_criterion"][name]["length"]["spearman"]
    flat, again = (str(np.array(re.findall(r"\d+\.\d+", str(found)), float).round(9)) for found in (one, other))
    assert flat == again


def test_a_rater_that_is_the_judge_is_calibrated_and_one_that_is_too_sure_is_not() -> None:
    gap = RNG.normal(size=4000)
    judged = 1 / (1 + np.exp(-gap))
    assert rater.calibration(np.zeros(4000), gap, judged)["ece"] == pytest.approx(0, abs=1e-12)
    too_sure = rater.calibration(np.zeros(4000), 10 * gap, judged)
    assert 0.15 < too_sure["ece"] < 0.4
    assert all(one["judged"] < one["predicted"] for one in too_sure["bins"][-3:])
    # by the definition, bin for bin
    sure = 1 / (1 + np.exp(-np.abs(10 * gap)))
    of_it = np.where(gap >= 0, judged, 1 - judged)
    error = 0.0
    for low in np.arange(0.5, 1, 0.05):
        inside = (sure >= low) & (sure < low + 0.05 if low < 0.94 else sure <= 1)
        if inside.any():
            error += inside.sum() / 4000 * abs(sure[inside].mean() - of_it[inside].mean())
    assert too_sure["ece"] == pytest.approx(error, abs=1e-3)


def test_nothing_held_out_of_a_criterion_is_no_number() -> None:
    a, b, judged = drawn(5)
    judged[:, 1] = np.nan
    found = rater.report(a, b, judged, 0.5, ["x", "y"], [["d", "e"]] * 5, np.ones((5, 2), np.int64), None)
    assert found["accuracy"]["y"] is None
    assert found["by_criterion"]["y"]["calibration"]["ece"] is None
    assert found["by_domain"] == {}
