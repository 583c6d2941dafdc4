"""The report on a judge, with the figures of its answers."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from analysis_example import Page
from judge_summary import SUMMARY
from matplotlib.figure import Figure
from requests_example import PAIRS, TWO, answered, example_requests, texts_of

from qurating.judging import tables
from qurating.reports import judge, judge_figures


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
    assert "i" not in {tag for tag, _ in page.tags}  # nor any other name or word
    for words in (
        *("answered by m-<i>: 9 answers, 2026-01-30 to 2026-01-31", "http://<i>host/v1", "temperature not sent"),
        *("25.0 %: 3 × no <i>label", "$0.00123", "$4,321.50", "little is judged of <i>d", "lost replies: 2"),
    ):
        assert words in page.text
    assert ("excerpt" in {attributes.get("class") for _, attributes in page.tags}) == (mode == "pairwise")
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


def test_examples_are_the_clearest_of_their_kind() -> None:
    hostile = PAIRS._replace(texts=["\u202eleft", "x" * 600, *PAIRS.texts[2:]])
    # P(text 1 ≻ text 0) where it is shown second, and first
    p = np.array([[[0.9, 0.6], [0.8, 0.3]], [[0.7, 0.95], [0.1, 0.9]], [[np.nan, 0.99], [0.55, 0.6]]])
    as_b = np.stack([p[..., 0], 1 - p[..., 1]], axis=-1)
    found = judge.examples(list(TWO), hostile, np.stack([1 - as_b, as_b], axis=-1))
    (one, other) = found["agree"]
    assert [(text["number"], text["id"]) for text in one["texts"]] == [
        (0, 12),
        (1, 10),
    ]  # 0.7 and 0.95
    assert (one["criterion"], other["criterion"]) == tuple(TWO)
    assert [text["id"] for text in other["texts"]] == [13, 11]
    assert other["texts"][1]["excerpt"] == "x" * 500 + " …"
    (flip,) = found["flip"]
    assert flip["criterion"] == "writing_style"
    assert (flip["shown_second"], flip["shown_first"]) == (pytest.approx(0.1), pytest.approx(0.9))
