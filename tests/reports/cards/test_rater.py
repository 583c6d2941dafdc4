"""The card of a rater: its content, and that texts of a corpus cannot add mark-up to it."""

import math
import re
from pathlib import Path

import numpy as np
import pytest
from drawn_pairs import RNG, drawn

from qurating.artifacts.files import write_json
from qurating.metrics import rater
from qurating.reports.cards.rater import write_card, wrong_pairs

HOSTILE = "<script>x</script> | **bold** [link](http://a.b) `code`\n# Heading @you www.x.y \u202e $m$ ![](a.png)"


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
