"""The card of a language model: what it says of data and training, and that no name can add mark-up to it."""

import math
import re
from pathlib import Path
from typing import Any

import pytest
from artifact_example import publish
from results_example import corpus, ordered

from qurating.artifacts.artifact import Artifact
from qurating.artifacts.manifest import read_manifest, reference
from qurating.metrics.loss_curve import Point
from qurating.reports.cards.language_model import loss_figure, write_card

TRAINING = {"seed": "3", "optimizer": "AdamW, lr 0.1"}
CURVE = [Point(1, 2_000, 7.5, 900, {"prose": 7.0, "co|de": 8.0}), Point(9, 18_000, 6.25, 900, {"prose": 6.0})]


def order(root: Path, labels: tuple[str, ...] = (), **selection: Any) -> Path:
    texts = corpus(root)
    publish(Artifact(root / "ratings/r", "rate", {"corpus": texts}, {}, labels=frozenset(labels)), lambda _: {})
    rated = reference("ratings/r", read_manifest(root / "ratings/r/manifest.json"))
    ordered(root, "mine", "educational_value inverse top-k", texts, 0, 30_491, "folding", ratings=rated, **selection)
    return root / "orders" / "mine"


def card(output: Path, trained_on: Path, curve: list[Point] | None = CURVE) -> str:
    output.mkdir()
    write_card(output, order=trained_on, tokens=30_491, training=TRAINING, curve=curve)
    return (output / "README.md").read_text(encoding="utf-8")


def plain(text: str) -> str:
    return re.sub(r"&#(\d+);", lambda found: chr(int(found[1])), text)


def test_it_says_what_was_selected_and_how_the_loss_fell(tmp_path: Path) -> None:
    text = plain(card(tmp_path / "model", order(tmp_path, temperature=2.0, inverse=True)))
    assert "# A language model trained on 30.5K tokens: educational_value inverse top-k, folding" in text
    for line in (
        "| temperature | 2 |",
        "| inverse (low scores are preferred) | yes |",
        "| budget, tokens | 30,000 |",
        "| order | folding |",
        "| optimizer | AdamW, lr 0.1 |",
        "| 2,000 | 7.5000 | 8.0000 | 7.0000 |",
        "| 18,000 | 6.2500 | – | 6.0000 |",
    ):
        assert line in text, line
    made = read_manifest(tmp_path / "orders/mine/manifest.json")
    assert f"- {reference('orders/mine', made)}" in text
    assert "Its text was selected by a score." in text
    assert (tmp_path / "model/card/loss.png").stat().st_size > 5_000


def test_an_infinite_temperature_is_text_in_a_manifest(tmp_path: Path) -> None:
    assert "| temperature | inf |" in card(tmp_path / "model", order(tmp_path, temperature=math.inf))


def test_a_simulated_judge_is_named_at_the_top(tmp_path: Path) -> None:
    artifact = Artifact(tmp_path / "orders/mine", "order", {}, {}, labels=frozenset({"simulated judge"}))
    publish(artifact, lambda _: {})
    text = card(tmp_path / "model", artifact.path)
    assert text.index("**Simulated judge.**") < text.index("## Data")
    assert "- simulated-judge" in text.partition("\n---\n")[0]


@pytest.mark.parametrize("gone", ["corpora", "ratings"])
def test_without_the_ancestors_the_card_tells_less(tmp_path: Path, gone: str) -> None:
    trained_on = order(tmp_path)
    (tmp_path / gone).rename(tmp_path / "elsewhere")
    text = card(tmp_path / "model", trained_on, curve=None)
    assert "not known: the manifests of its inputs were not there" in text
    assert "Not measured (`model.heldout_points=0`)" in text
    assert not (tmp_path / "model/card").exists()


def test_names_cannot_write_the_card(tmp_path: Path) -> None:
    text = card(tmp_path / "model", order(tmp_path))
    assert "co|de" not in text  # a domain's name would add a cell
    assert "co&#124;de" in text


def test_the_tokens_of_the_axis_can_be_read(tmp_path: Path) -> None:
    figure = loss_figure(CURVE)
    figure.draw_without_rendering()
    labels = [tick.get_text() for tick in figure.axes[0].get_xticklabels(which="both")]
    assert {"3k", "10k"} <= set(labels)
    assert not any("mathdefault" in label for label in labels)
