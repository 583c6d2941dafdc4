"""The report on a judge, with the figures of its answers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from analysis_example import Page
from matplotlib.figure import Figure
from requests_example import PAIRS, TWO, answered, example_requests, texts_of

from qurating.judging import tables
from qurating.reports import judge, judge_figures

AGREEMENT: dict[str, Any] = dict.fromkeys(
    ("orders_agree", "flip_rate", "positional_bias", "ties", "confident", "longer_preferred", "length_correlation",
     "transitive", "flip_rate_with_instructions", "kendall_tau")
) | {"num_pairs": 2, "num_triples": 0, "num_ranked": 0, "num_pairs_with_instructions": 0}  # fmt: skip
CALLS = {"num_calls": 12, "prompt_tokens": 5000, "completion_tokens": 12, "usd": None}
SUMMARY: dict[str, Any] = {
    "judge": "served <b>",
    "model": "m",
    "num_pairs": 2,
    "num_texts": 4,
    "num_votes": 5,
    "method": "votes",
    "simulated": False,
    "criteria": dict.fromkeys(TWO, AGREEMENT),
    "cost": {"estimate": CALLS, "actual": CALLS, "price": None},
    "failed": {},
}


@pytest.mark.parametrize("mode", ["pairwise", "individual"])
def test_the_page_shows_the_figures_of_its_mode(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mode: str) -> None:
    def answer(prompt: str, repeat: int) -> list[float]:
        return [1.0 + first for first in texts_of(prompt)]

    def save(figure: Figure, path: Path) -> str:
        path.parent.mkdir(exist_ok=True)
        path.touch()
        return "<svg/>"

    monkeypatch.setattr("qurating.reports.style.save", save)  # drawing takes seconds
    drawn: dict[str, Any] = {}
    for name in ("orders", "preferences", "lengths"):
        original = getattr(judge_figures, name)
        monkeypatch.setattr(
            judge_figures, name, lambda *given, _n=name, _o=original: drawn.update({_n: given}) or _o(*given)
        )
    asked = answered(example_requests("votes", mode), answer)
    preferred = tables.preferred(asked, PAIRS)
    judge.write(tmp_path, SUMMARY | {"mode": mode}, list(TWO), PAIRS, preferred, asked, num_pairs=2)
    names = {"preferences", "lengths"} | ({"orders"} if mode == "pairwise" else set())
    assert drawn.keys() == names
    assert {file.stem for file in (tmp_path / "plots").iterdir()} == names
    page = Page((tmp_path / "report.html").read_text(encoding="utf-8"))
    assert {attributes.get("id") for tag, attributes in page.tags if tag == "figure"} == names
    assert "Judgments by served <b>" in page.text
    assert "b" not in {tag for tag, _ in page.tags}
    # those of the ranking's pair are not among them
    for c, name in enumerate(TWO):
        np.testing.assert_array_equal(drawn["preferences"][0][name], preferred[:2, c])
        np.testing.assert_array_equal(drawn["lengths"][0][name], preferred[:2, c])
    sizes = [len(text) for text in PAIRS.texts]
    expected = [np.log2(sizes[1] / sizes[0]), np.log2(sizes[0] / sizes[2])]
    assert drawn["lengths"][1].tolist() == pytest.approx(expected)
    if mode == "pairwise":
        first, second = drawn["orders"][0]["writing_style"]
        # text 1 shown second, and shown first: 1 + its place among four over the sum
        assert first == pytest.approx([2 / 3, 1 / 4])
        assert second == pytest.approx([2 / 3, 1 / 4])
