"""The figures of a rater's card."""

from typing import Any

import numpy as np
import pytest
from drawn_pairs import RNG, drawn

from qurating.metrics import rater
from qurating.reports import rater_figures


def report(num_pairs: int = 200) -> dict[str, Any]:
    a, b, judged = drawn(num_pairs)
    domains = [[name] * 2 for name in RNG.choice([f"domain {i}" for i in range(30)], num_pairs)]
    lengths = RNG.integers(1, 50, (num_pairs, 2))
    return rater.report(a, b, judged, 0.1, ["style", "facts"], domains, lengths, None)


def test_accuracy_by_margin_has_a_line_a_criterion() -> None:
    found = report()["by_criterion"]
    (axes,) = rater_figures.accuracy_by_margin(found).axes
    lines = {line.get_label(): line.get_ydata() for line in axes.lines if line.get_marker() == "o"}
    assert lines.keys() == {"style", "facts"}
    for name, values in lines.items():
        parts = [part for part in found[name]["by_confidence"].values() if part["num_pairs"]]
        assert list(values) == [part["accuracy"] for part in parts]  # type: ignore[arg-type]


def test_domains_with_most_judgments_come_first() -> None:
    found = report()["by_domain"]
    (axes,) = rater_figures.accuracy_by_domain(found).axes
    names = [label.get_text() for label in axes.get_yticklabels()]
    assert len(names) == rater_figures.MAX_DOMAINS
    counts = [int(name.rpartition("(")[2].rstrip(")")) for name in names]
    assert counts == sorted((part["num_pairs"] for part in found.values()), reverse=True)[: len(names)]
    dots = [line.get_xdata()[0] for line in axes.lines if line.get_marker() == "o"]  # type: ignore[index]
    assert dots == [found[name.rpartition(" (")[0]]["accuracy"] for name in names]


def test_calibration_has_a_dot_a_bin() -> None:
    found = report()["by_criterion"]
    panels = rater_figures.calibration(found).axes
    for panel, (name, part) in zip(panels, found.items(), strict=True):
        bins = part["calibration"]["bins"]
        expected = [[one["predicted"], one["judged"]] for one in bins]
        assert np.asarray(panel.collections[0].get_offsets()) == pytest.approx(np.array(expected))
        assert panel.get_title(loc="left").startswith(f"{name}: ECE {part['calibration']['ece']:.3f}")


def test_ratings_over_lengths_are_in_standard_deviations() -> None:
    ratings, lengths = 5 + 3 * RNG.normal(size=(80, 2)), RNG.integers(1, 500, 80)
    panels = rater_figures.rating_by_length(ratings, lengths, ["style", "facts"], [-0.25, None]).axes
    for c, panel in enumerate(panels):
        x, y = np.asarray(panel.collections[0].get_offsets()).T
        assert x.tolist() == lengths.tolist()
        assert y.std() == pytest.approx(1)
        assert np.corrcoef(y, ratings[:, c])[0, 1] == pytest.approx(1)
    assert [panel.get_title(loc="left") for panel in panels] == ["style: ρ −0.25", "facts: ρ –"]
