"""The rater: what it learns, that an interruption leaves no trace, and ratings against a plain loop."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from rater_fixtures import CRITERIA, judgments_of, network, rated_corpus, train
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

from qurating.artifacts import StageError
from qurating.chunking import weighted_mean, windows
from qurating.datamodules.judgments import Judgments
from qurating.models import networks
from qurating.models.rater import Rater
from qurating.stages.rate import rate


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rated_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def judgments(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return judgments_of(corpus, tmp_path_factory.mktemp("judgments"))


def files(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir() if file.suffix != ".bin"}


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
        patched.setattr("qurating.stages.train_rater.validation_report", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            train(corpus, judgments, tmp_path / "cut")
    train(corpus, judgments, tmp_path / "cut")
    assert files(tmp_path / "cut") == files(tmp_path / "whole")


def test_the_split_of_a_step_changes_nothing(corpus: Path, judgments: Path, tmp_path: Path) -> None:
    results = []
    for size in (3, 16):
        train(corpus, judgments, tmp_path / str(size), micro_batch_size=size, num_epochs=1, network=network(0.0))
        model = AutoModelForSequenceClassification.from_pretrained(tmp_path / str(size))
        results.append(torch.cat([p.detach().flatten() for p in model.parameters()]))
    assert (results[0] - results[1]).abs().mean() < 1e-5


def test_judgments_that_cannot_be_used_are_refused(corpus: Path, judgments: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="has no judgments by humour"):
        train(corpus, judgments, tmp_path / "a", criteria=["humour"])
    with pytest.raises(StageError, match=r"pairs are confident .* judge more pairs"):
        train(corpus, judgments, tmp_path / "b", minimum_confidence=0.99)
    with pytest.raises(StageError, match=r"raise rater.max_tokens"):
        train(corpus, judgments, tmp_path / "c", max_tokens=20)


def test_padding_does_not_reach_the_ratings(corpus: Path, judgments: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    data = Judgments(judgments, tokenizer, CRITERIA, 0.5, 512, 16, 8, 1, 0.2, 0)
    tiny = networks.rater(
        "llama",
        tokenizer=tokenizer,
        criteria=CRITERIA,
        hidden_size=16,
        intermediate_size=32,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
    ).eval()
    module = Rater(tiny, CRITERIA, torch.optim.AdamW, get_linear_schedule_with_warmup, 0.1, 0)
    together = torch.cat(module.scores(data.batch(np.arange(6))))
    alone = torch.cat([torch.stack(module.scores(data.batch(np.array([i]))), dim=1)[0] for i in range(6)])
    assert torch.allclose(together.view(2, 6, 2).transpose(0, 1).reshape(12, 2), alone, atol=1e-5)


@pytest.mark.parametrize("tokens_per_batch", [1, 300, 100_000])
def test_ratings_match_a_plain_loop(corpus: Path, judgments: Path, tmp_path: Path, tokens_per_batch: int) -> None:
    train(corpus, judgments, tmp_path / "rater", num_epochs=1)
    (tmp_path / "ratings").mkdir()
    arguments: dict[str, Any] = {"max_tokens": 50, "tokens_per_batch": tokens_per_batch, "accelerator": "cpu"}
    rate(output=tmp_path / "ratings", corpus=corpus, rater=tmp_path / "rater", **arguments)
    model = AutoModelForSequenceClassification.from_pretrained(tmp_path / "rater").eval()
    for file in sorted((corpus / "train").glob("*.parquet"))[:1]:
        given = pq.read_table(file, columns=["id", "input_ids", "length"]).to_pylist()
        found = pq.read_table(tmp_path / "ratings/train" / file.name).to_pylist()
        assert [row["id"] for row in found] == [row["id"] for row in given]
        for row, source in zip(found[:12], given[:12], strict=True):
            ids = source["input_ids"]
            ids = ids[:-1] if ids[-1] == model.config.pad_token_id and len(ids) > 1 else ids
            parts = windows(ids, 50)
            with torch.inference_mode():
                ratings = torch.cat([model(input_ids=torch.tensor([part])).logits for part in parts]).numpy()
            assert row["chunk_lengths"] == [len(part) for part in parts]
            assert row["length"] == source["length"]
            for c, name in enumerate(CRITERIA):
                assert row[f"{name}_chunks"] == pytest.approx(ratings[:, c].tolist(), abs=1e-5)
                mean = np.asarray(weighted_mean(ratings, row["chunk_lengths"]))[c]
                assert row[f"{name}_average"] == pytest.approx(mean, abs=1e-5)
