"""The figures of a rater's validation against loops and known cases; the card that tells them."""

import math
import re
from pathlib import Path

import numpy as np
import pytest

from qurating.artifacts.files import write_json
from qurating.metrics import rater
from qurating.reports.rater_card import escaped, write_card, wrong_pairs

RNG = np.random.default_rng()
HOSTILE = "<script>x</script> | **bold** [link](http://a.b) `code`\n# Heading @you www.x.y \u202e $m$ ![](a.png)"


def drawn(num_pairs: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    a, b = RNG.normal(size=(2, num_pairs, 2))
    judged = RNG.uniform(size=(num_pairs, 2))
    judged[RNG.uniform(size=judged.shape) < 0.2] = np.nan
    return a, b, judged


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


def test_text_of_a_corpus_cannot_write_the_card() -> None:
    shown = escaped(HOSTILE)
    assert not re.search(r"[<>|*`\[\]#@$\n\u202e]|www\.|http:", re.sub(r"&#\d+;", "", shown))
    for hostile in ("- item", "1. item", "=== \n", "---", "+ x"):
        assert re.match(r"\d*&#", escaped(hostile)), hostile
    assert escaped("0.5 and 3-4") == "0.5 and 3-4"


def test_the_wrong_pairs_are_those_of_which_it_is_most_sure() -> None:
    texts = [[f"a{i}", f"b{i}"] for i in range(5)]
    scores_b = np.array([1.0, -3.0, 2.0, -1.0, 5.0])
    confident = np.array([0.9, 0.9, 0.1, 0.8, np.nan])
    found = wrong_pairs(texts, np.zeros(5), scores_b, confident)
    assert [pair["preferred"] for pair in found] == ["b1", "a2", "b3"]
    assert found[0]["other"] == "a1"
    assert found[0]["rater"] == pytest.approx(1 / (1 + math.exp(3)))
    assert found[0]["judge"] == 0.9


def test_the_card_says_at_once_that_its_judge_was_simulated(tmp_path: Path) -> None:
    a, b, judged = drawn(40)
    lengths = RNG.integers(1, 50, (40, 2))
    found = rater.report(
        a, b, judged, 0.5, ["style", "facts"], [["<b>x|y</b>"] * 2] * 40, lengths, RNG.uniform(size=(40, 2, 2))
    )
    write_json(tmp_path / "judgments/manifest.json", {"name": "judgments/sim", "labels": ["simulated judge"]})
    write_json(tmp_path / "judgments/summary.json", {"judge": "simulated", "simulated": True})
    wrong = {"style": wrong_pairs([[HOSTILE, HOSTILE]] * 40, a[:, 0], b[:, 0], judged[:, 0]), "facts": []}
    write_card(
        tmp_path,
        judgments=tmp_path / "judgments",
        criteria=["style", "facts"],
        report=found,
        ratings=np.concatenate([a, b]),
        lengths=lengths.T.ravel(),
        wrong=wrong,
        base=str(tmp_path / "my|model"),
        settings={"longest text, tokens": "512", "confident from |2p − 1|": "0.5"},
    )
    card = (tmp_path / "README.md").read_text(encoding="utf-8")
    head, _, body = card.removeprefix("---\n").partition("\n---\n")
    assert "- simulated-judge" in head
    assert "base_model" not in head  # a folder of this machine is nobody's business
    assert str(tmp_path) not in card
    assert body.strip().splitlines()[2].startswith("> **Simulated judge.** The judgments come from a program")
    assert "<b>" not in card
    assert "<script>" not in card
    figures = re.findall(r"!\[[^\]]*\]\((card/\w+\.png)\)", card)
    assert len(figures) == 4
    assert all((tmp_path / file).stat().st_size > 5000 for file in figures)
    # every table has as many cells in each row as in its head
    for table in re.findall(r"(?:^\|.*\n)+", body, re.MULTILINE):
        assert len({line.count("|") for line in table.replace("|2p − 1|", "").splitlines()}) == 1, table
