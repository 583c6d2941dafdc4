"""The rater card: a model card (README.md) on the training data of a rater and how far to trust it."""

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from huggingface_hub import ModelCardData

from qurating.artifacts.files import read_json
from qurating.reports import rater_figures, style
from qurating.reports.cards import markdown

EXCERPT_CHARACTERS = 300
WRONG_PAIRS = 3  # of each criterion


def wrong_pairs(
    texts: Sequence[Sequence[str]],
    scores_a: npt.NDArray[np.float64],
    scores_b: npt.NDArray[np.float64],
    confident: npt.NDArray[np.float64],
) -> list[dict[str, Any]]:
    """The confident pairs that a rater gets wrong by one criterion, those where it is most sure first.

    Args:
        texts: of the N pairs.
        scores_a, scores_b: (N,) ratings.
        confident: (N,) p(B ≻ A), NaN where the judge is not confident.
    """
    gap = (scores_b - scores_a) * np.sign(2 * confident - 1)
    wrong = [int(i) for i in np.argsort(gap, kind="stable") if gap[i] < 0][:WRONG_PAIRS]
    return [
        {
            "judge": float(max(confident[i], 1 - confident[i])),
            "rater": float(1 / (1 + np.exp(-gap[i]))),
            "preferred": texts[i][int(confident[i] > 0.5)],
            "other": texts[i][int(confident[i] <= 0.5)],
        }
        for i in wrong
    ]


def write_card(
    output: Path,
    *,
    judgments: Path,
    criteria: Sequence[str],
    report: Mapping[str, Any],
    ratings: npt.NDArray[np.float64],
    lengths: npt.NDArray[np.int64],
    wrong: Mapping[str, Sequence[Mapping[str, Any]]],
    base: str | None,
    settings: Mapping[str, Any],
) -> None:
    """Write README.md and its figures in `card/`.

    Args:
        judgments: folder of the judgments artifact, for its labels and the description of its judge.
        report: see `metrics.rater.report`.
        ratings: (texts, criteria), of the texts of held-out pairs.
        lengths: (texts,) in tokens.
        wrong: by criterion, see `wrong_pairs`.
        base: the pre-trained network, a name on the Hub or a path; None if trained from random weights.
        settings: name -> value of the training, as shown on the card.
    """
    by_criterion = report["by_criterion"]
    folder = output / "card"
    style.save(rater_figures.accuracy_by_margin(by_criterion), folder / "accuracy_by_margin.png")
    style.save(rater_figures.accuracy_by_domain(report["by_domain"]), folder / "accuracy_by_domain.png")
    style.save(rater_figures.calibration(by_criterion), folder / "calibration.png")
    rhos = [by_criterion[name]["length"]["spearman"] for name in criteria]
    style.save(rater_figures.rating_by_length(ratings, lengths, criteria, rhos), folder / "rating_by_length.png")

    manifest, summary = (_read(judgments / name) for name in ("manifest.json", "summary.json"))
    is_on_hub = base is not None and re.fullmatch(r"[\w.-]+/[\w.-]+", base) and not Path(base).exists()
    head = ModelCardData(
        library_name="transformers",
        pipeline_tag="text-classification",
        base_model=base if is_on_hub else None,
        tags=["qurating", "rater", "bradley-terry", *(label.replace(" ", "-") for label in manifest.get("labels", []))],
    )
    page = markdown.template(
        "rater_card.md.jinja", {"percent": _percent, "decimals": _decimals, "excerpt": _excerpt}
    ).render(
        head=head.to_yaml().strip(),
        labels=manifest.get("labels", []),
        judgments=manifest.get("name", judgments.name),
        judge=summary,
        base=base if is_on_hub else base and Path(base).name,
        criteria=criteria,
        settings=settings,
        report=report,
        wrong=wrong,
    )
    (output / "README.md").write_text(page, encoding="utf-8")


def _excerpt(text: str) -> str:
    flat = " ".join(text.split())
    return markdown.escaped(flat if len(flat) <= EXCERPT_CHARACTERS else f"{flat[:EXCERPT_CHARACTERS]} …")


def _percent(share: float | None) -> str:
    return "–" if share is None else f"{100 * share:.1f}"


def _decimals(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}".replace("-", "−")


def _read(file: Path) -> dict[str, Any]:
    return read_json(file) if file.is_file() else {}
