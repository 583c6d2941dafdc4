"""The losses along a training, as the files of its model hold them."""

import csv
from pathlib import Path

import pytest
from results_example import DOCUMENTS, evaluated, trained, with_curve

from qurating.evaluation.curves import MAX_POINTS, heldout_loss, training_loss


def folder(root: Path, reference: str) -> Path:
    return root / reference.split(" (")[0]


def metrics(model: Path, rows: list[dict[str, float | str]]) -> Path:
    model.mkdir(exist_ok=True)
    with open(model / "metrics.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, ["step", "train/loss", "train/tokens", "validation/loss"])
        writer.writeheader()
        writer.writerows(rows)
    return model


def test_heldout_losses_are_of_the_documents_of_the_evaluation(tmp_path: Path) -> None:
    model = with_curve(tmp_path, trained(tmp_path), {10: 4.0, 100: 3.0})
    on_all = evaluated(tmp_path, model, 3.0)
    points = heldout_loss(folder(tmp_path, model), folder(tmp_path, on_all), "")
    assert points is not None
    assert [(each.tokens, each.nats_per_token, each.num_tokens) for each in points] == [(10, 4.0, 300), (100, 3.0, 300)]
    on_one = evaluated(tmp_path, model, 3.0, documents=DOCUMENTS[:1], name="one")
    points = heldout_loss(folder(tmp_path, model), folder(tmp_path, on_one), "")
    assert points is not None
    assert [each.num_tokens for each in points] == [100, 100]
    assert heldout_loss(folder(tmp_path, model), folder(tmp_path, on_all), "no such part") is None


def test_what_cannot_be_read_has_no_curve(tmp_path: Path) -> None:
    model = trained(tmp_path)
    evaluation = evaluated(tmp_path, model, 3.0)
    assert heldout_loss(folder(tmp_path, model), folder(tmp_path, evaluation), "") is None
    (folder(tmp_path, model) / "curve.parquet").write_bytes(b"damaged")
    assert heldout_loss(folder(tmp_path, model), folder(tmp_path, evaluation), "") is None
    assert training_loss(folder(tmp_path, model)) is None
    assert training_loss(metrics(tmp_path / "m", [{"step": 0, "validation/loss": 3.0}])) is None


def test_a_training_loss_is_a_running_mean_at_a_few_points(tmp_path: Path) -> None:
    rows: list[dict[str, float | str]] = [
        {"step": n, "train/loss": 5.0 + n % 2, "train/tokens": 7 * (n + 1)} for n in range(1_000)
    ]
    found = training_loss(metrics(tmp_path / "m", rows))
    assert found is not None
    assert found.tokens is not None
    assert len(found.steps) == len(found.tokens) == len(found.nats_per_token) == MAX_POINTS
    assert (found.steps[0], found.tokens[0], found.nats_per_token[0]) == (0, 7, 5.0)
    assert (found.steps[-1], found.tokens[-1]) == (999, 7_000)
    assert found.nats_per_token[-1] == pytest.approx(5.5)  # over the last 20


def test_a_training_without_tokens_has_steps(tmp_path: Path) -> None:
    rows: list[dict[str, float | str]] = [{"step": 3, "train/loss": 5.0}, {"step": 6, "train/loss": 4.0}]
    found = training_loss(metrics(tmp_path / "m", rows))
    assert found is not None
    assert found.tokens is None
    assert found.steps.tolist() == [3, 6]
    assert found.nats_per_token.tolist() == [5.0, 4.0]
