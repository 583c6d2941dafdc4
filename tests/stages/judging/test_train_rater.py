"""The rater: what it learns, and that an interruption changes nothing."""

import csv
import functools
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from rater_fixtures import CRITERIA, judgments_of, network, rated_corpus, train
from transformers import AutoModelForSequenceClassification

from qurating.analysis.preferences import RATER, held_out
from qurating.artifacts.files import write_json
from qurating.datamodules.judgments import Judgments
from qurating.models.rater import Rater
from qurating.runtime.errors import StageError
from qurating.stages.judging import train_rater as module


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rated_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def judgments(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return judgments_of(corpus, tmp_path_factory.mktemp("judgments"))


def files(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_it_learns_and_writes_what_it_promises(corpus: Path, judgments: Path, tmp_path: Path) -> None:
    counts = train(corpus, judgments, tmp_path / "rater", num_epochs=20)
    report = json.loads((tmp_path / "rater/validation.json").read_text(encoding="utf-8"))
    assert counts["training_pairs"] + counts["validation_pairs"] < 120  # the undecided pairs do not count
    assert sum(part["num_pairs"] for part in report["by_confidence"].values()) == pytest.approx(24 * 1.8, abs=6)
    assert report["accuracy"]["shortness"] > 0.75
    assert json.loads((tmp_path / "rater/criteria.json").read_text(encoding="utf-8")) == CRITERIA
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rater")
    assert list(model.config.id2label.values()) == CRITERIA
    assert (tmp_path / "rater/metrics.csv").is_file()
    assert not (tmp_path / "rater/checkpoints").exists()


# 6 steps an epoch, 2 passes a step: before a state, between two, right after a validation, at the very end
@pytest.mark.parametrize("passes", [1, 11, 12, 13, 35])
def test_an_interrupted_training_ends_the_same(
    corpus: Path, judgments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, passes: int
) -> None:
    train(corpus, judgments, tmp_path / "whole")

    def fails(self: Rater, batch: Any, batch_idx: int) -> Any:
        if batch_idx == passes:
            raise RuntimeError("pulled the plug")
        return original(self, batch, batch_idx)

    original = Rater.training_step
    with monkeypatch.context() as patched:
        patched.setattr(Rater, "training_step", fails)
        with pytest.raises(RuntimeError, match="pulled the plug"):
            train(corpus, judgments, tmp_path / "cut")
    train(corpus, judgments, tmp_path / "cut")
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_killed_after_the_last_validation_the_best_is_still_known(
    corpus: Path, judgments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train(corpus, judgments, tmp_path / "whole")
    with monkeypatch.context() as patched:
        patched.setattr("qurating.stages.judging.train_rater.report", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(corpus, judgments, tmp_path / "cut")
    train(corpus, judgments, tmp_path / "cut")
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_the_split_of_a_step_changes_nothing(corpus: Path, judgments: Path, tmp_path: Path) -> None:
    results, losses = [], []
    for size in (300, 100_000):
        train(corpus, judgments, tmp_path / str(size), tokens_per_micro_batch=size, num_epochs=1, network=network(0.0))
        model = AutoModelForSequenceClassification.from_pretrained(tmp_path / str(size))
        results.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
        with open(tmp_path / str(size) / "metrics.csv", newline="", encoding="utf-8") as stream:
            losses.append([float(row["train/loss"]) for row in csv.DictReader(stream) if row["train/loss"]])
    assert (results[0] - results[1]).abs().mean() < 1e-5
    assert len(losses[0]) == 6
    assert losses[0] == pytest.approx(losses[1], rel=1e-3)


def test_an_analysis_knows_the_pairs_that_were_held_out(
    corpus: Path, judgments: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[Judgments] = []

    def fit(_: Rater, data: Judgments, *__: Any, **___: Any) -> None:
        seen.append(data)
        raise RuntimeError("not trained")

    monkeypatch.setattr(module, "fit", fit)
    with pytest.raises(RuntimeError, match="not trained"):
        train(corpus, judgments, tmp_path / "unused", seed=5)
    (data,) = seen
    config = {"validation_fraction": len(data.held_out) / len(data.pairs), "seed": 5}
    inputs = {"judgments": "judgments/j (0123456789abcdef)"}
    write_json(tmp_path / "models/m/manifest.json", {"inputs": inputs, "config": config})
    write_json(tmp_path / "ratings/r/manifest.json", {"stage": "rate", "inputs": {"rater": "models/m (00)"}})
    own = {"name": "judgments/j", "fingerprint": "0123456789abcdef" * 4}
    write_json(tmp_path / "judgments/j/manifest.json", own)
    mask = held_out(tmp_path / "ratings/r", tmp_path / "judgments/j", len(data.pairs), RATER)
    assert mask is not None
    assert set(np.flatnonzero(mask)) == set(data.held_out.tolist())
    assert 0 < mask.sum() < len(mask)


def test_judgments_that_cannot_be_used_are_refused(corpus: Path, judgments: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="has no judgments by humour"):
        train(corpus, judgments, tmp_path / "a", criteria=["humour"])
    with pytest.raises(StageError, match=r"pairs are confident .* judge more pairs"):
        train(corpus, judgments, tmp_path / "b", minimum_confidence=0.99)
    with pytest.raises(StageError, match=r"rater\.label_temperature=0: it must be above 0"):
        train(corpus, judgments, tmp_path / "d", label_temperature=0)
    with pytest.raises(StageError, match=r"raise rater.max_tokens"):
        train(corpus, judgments, tmp_path / "c", max_tokens=20)


def test_a_training_that_diverges_is_an_error(corpus: Path, judgments: Path, tmp_path: Path) -> None:
    optimizer = functools.partial(torch.optim.SGD, lr=1e30)
    with pytest.raises(StageError, match=r"the rater diverged: .* at step \d+ .* Lower rater.optimizer.lr"):
        train(corpus, judgments, tmp_path / "a", optimizer=optimizer, gradient_clip_norm=None, num_epochs=1)
