"""The style of figures: labels that fit, panels, and reproducible files."""

import re
from pathlib import Path

import matplotlib as mpl
from matplotlib.figure import Figure

from qurating.reports import style


@style.styled
def a_figure() -> Figure:
    figure = Figure(figsize=(2, 1))
    figure.subplots().plot([0, 1], [2, 3], label="$x$ & <y>")
    figure.axes[0].legend()
    return figure


def test_a_figure_is_the_same_file_each_time_without_metadata(tmp_path: Path) -> None:
    drawn = [style.save(a_figure(), tmp_path / name / "figure.png") for name in ("a", "b")]
    first, second = ((tmp_path / name / "figure.png").read_bytes() for name in ("a", "b"))
    assert drawn[0] == drawn[1]
    assert first == second
    assert first.startswith(b"\x89PNG")
    assert b"Matplotlib" not in first
    assert not re.search("<dc:date>|<dc:creator>", drawn[0])
    assert drawn[0].count("<svg") == 1


def test_the_style_is_in_force_while_a_figure_is_drawn_and_no_longer() -> None:
    before = mpl.rcParams["axes.spines.top"]
    assert not a_figure().axes[0].spines["top"].get_visible()
    assert mpl.rcParams["axes.spines.top"] == before


def test_long_names_lose_their_middle_and_what_cannot_be_printed() -> None:
    assert style.short("writing_style top-k") == "writing_style top-k"
    long = style.short("educational_value, " * 5 + "seed=2")
    assert len(long) == 40
    assert long.startswith("educational_valu")
    assert long.endswith("seed=2")
    assert style.short("two\nlines \u202e") == "two\ufffdlines \ufffd"


def test_signed_numbers_have_a_true_minus_and_nothing_has_no_sign() -> None:
    assert [style.signed("{:+.1f}", value) for value in (1.26, -1.26, -0.04, 0.0)] == ["+1.3", "−1.3", "0.0", "0.0"]


def test_a_grid_has_the_number_of_panels_asked_for() -> None:
    for number in (1, 2, 3):
        figure, panels = style.panel_grid(number, 2.0)
        assert len(panels) == number
        assert [axes for axes in figure.axes if axes.get_visible()] == panels
