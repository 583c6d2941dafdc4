"""The figures about subsets show shares of tokens."""

from typing import Any

import numpy as np
import pytest

from qurating.reports import subset_figures


def test_domains_are_percents_of_the_corpus_and_of_the_subset() -> None:
    tokens = {"web": {"corpus_tokens": 300, "tokens": 90}, "books": {"corpus_tokens": 700, "tokens": 10}}
    (axes,) = subset_figures.domains(tokens).axes
    bars: Any = axes.patches
    assert [bar.get_width() for bar in bars] == pytest.approx([30, 70, 90, 10])
    assert [text.get_text() for text in axes.texts] == [" 30.0", " 70.0", " 90.0", " 10.0"]
    assert bars[0].get_y() > bars[2].get_y() > bars[1].get_y()  # the corpus above the subset, web above books
    nothing = subset_figures.domains({"web": {"corpus_tokens": 5, "tokens": 0}}).axes[0]
    assert [text.get_text() for text in nothing.texts] == [" 100.0", " 0.0"]


def test_deciles_start_at_the_lowest() -> None:
    taken = {"clarity": [0.0] * 9 + [0.5], "depth": np.linspace(0, 0.9, 10).tolist()}
    panels = subset_figures.deciles(taken).axes
    assert [panel.get_title(loc="left") for panel in panels] == ["clarity", "depth"]
    for panel, shares in zip(panels, taken.values(), strict=True):
        bars: Any = panel.patches
        assert [bar.get_height() for bar in bars] == pytest.approx([100 * share for share in shares])
        assert [round(bar.get_x() + bar.get_width() / 2) for bar in bars] == list(range(1, 11))


def test_a_subset_is_not_compared_with_itself() -> None:
    values = np.array([[1.0, 0.25], [0.25, 1.0]])
    figure = subset_figures.overlaps(["a", "b"], values)
    assert [text.get_text() for text in figure.axes[0].texts] == ["25", "25"]
    assert values[0, 0] == 1.0  # what is given stays as it is
