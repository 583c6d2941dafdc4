"""Figures about judge, rater and scorer: what they show, and that they are none without anything to show."""

from pathlib import Path

import pytest
from rated_example import rater

from qurating.analysis import raters as of_raters
from qurating.analysis.raters import ANNOTATED, JUDGE
from qurating.analysis.tables import from_rows
from qurating.reports.analyses import raters


def test_a_judge_has_a_line_per_criterion() -> None:
    def row(criterion: str, grouping: str, agree: float | None) -> list[object]:
        known = {"criterion": criterion, "grouping": grouping, "num_pairs": 40, "orders_agree": agree}
        known |= {"low": 0.4, "high": 0.9} if agree else {}
        return [known.get(name) for name in JUDGE.names]

    rows = [row("style", "all", 0.8), row("imported", "all", None), row("style", "domain", 0.7)]
    figure = raters.judge(from_rows(rows, JUDGE))
    assert figure is not None
    assert [label.get_text() for label in figure.axes[0].get_yticklabels()] == ["style (40)"]
    assert raters.judge(from_rows(rows[1:2], JUDGE)) is None


def test_raters_are_told_apart(tmp_path: Path) -> None:
    one, two = rater(tmp_path / "models/one"), rater(tmp_path / "models/two", seed=1)
    for folders, expected in (
        ([one], {"style", "facts"}),
        ([one, two], {"style, one", "facts, one", "style, two", "facts, two"}),
    ):
        accuracy = raters.rater_accuracy(of_raters.rater_accuracy(folders))
        calibration = raters.rater_calibration(of_raters.rater_calibration(folders))
        assert accuracy is not None
        assert calibration is not None
        assert {line.get_label() for line in accuracy.axes[0].get_lines()} - {"_child0"} >= expected
        assert {axes.get_title(loc="left").partition(":")[0] for axes in calibration.axes} == expected


@pytest.mark.parametrize(("held_out", "told"), [(True, "1 held-out sequences"), (None, "2 sequences")])
def test_held_out_sequences_are_drawn_where_they_are_known(held_out: bool | None, told: str) -> None:
    rows = [("a", "lqs", 1, "web", 0.1, 0.2, held_out), ("a", "lqs", 2, "code", 0.3, 0.2, held_out and False)]
    figure = raters.annotated(from_rows(rows, ANNOTATED))
    assert figure is not None
    assert figure.axes[0].get_title(loc="left") == f"lqs: {told}"


def test_more_domains_than_colours_are_grey() -> None:
    rows = [("a", "lqs", place, f"d{place:02}", 0.1 * place, 0.2, True) for place in range(raters.MAX_COLOURS + 4)]
    figure = raters.annotated(from_rows(rows, ANNOTATED))
    assert figure is not None
    legend = figure.axes[0].get_legend()
    assert legend is not None
    assert [text.get_text() for text in legend.get_texts()][::-1] == [
        f"d{place:02}" for place in range(raters.MAX_COLOURS)
    ]
    assert len(figure.axes[0].collections) == len(rows)


def test_nothing_is_drawn_of_empty_tables() -> None:
    empty = of_raters.tables([], [], []) | {"annotated": ANNOTATED.empty_table()}
    for name in ("judge", "rater_accuracy", "rater_calibration", "annotated"):
        assert getattr(raters, name)(empty[name]) is None
