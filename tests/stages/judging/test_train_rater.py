"""The rater: what it learns, that an interruption leaves no trace, and ratings against a plain loop."""

import csv
import functools
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from rater_fixtures import CRITERIA, judgments_of, network, rated_corpus, train
from transformers import AutoModelForSequenceClassification, AutoTokenizer, get_linear_schedule_with_warmup

from qurating.corpus.windows import weighted_mean, windows
from qurating.datamodules.judgments import Judgments
from qurating.metrics import bradley_terry
from qurating.models import lora, networks
from qurating.models.optimization import Optimization
from qurating.models.rater import Rater
from qurating.runtime.errors import StageError
from qurating.stages.judging.rate import rate

RATE: dict[str, Any] = {
    "from_pretrained": None,
    "criteria": CRITERIA,
    "precision": "32-true",
    "compilation": "auto",
    "num_workers": 1,
    "shard": None,
    "num_shards": None,
    "accelerator": "cpu",
}
PAIRS: dict[str, Any] = {
    "minimum_confidence": 0.5,
    "label_temperature": 1.0,
    "max_tokens": 512,
    "batch_size_pairs": 16,
    "tokens_per_micro_batch": 800,
    "num_epochs": 1,
    "validation_fraction": 0.2,
    "seed": 0,
}


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


def test_judgments_that_cannot_be_used_are_refused(corpus: Path, judgments: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="has no judgments by humour"):
        train(corpus, judgments, tmp_path / "a", criteria=["humour"])
    with pytest.raises(StageError, match=r"pairs are confident .* judge more pairs"):
        train(corpus, judgments, tmp_path / "b", minimum_confidence=0.99)
    with pytest.raises(StageError, match=r"rater\.label_temperature=0: it must be above 0"):
        train(corpus, judgments, tmp_path / "d", label_temperature=0)
    with pytest.raises(StageError, match=r"raise rater.max_tokens"):
        train(corpus, judgments, tmp_path / "c", max_tokens=20)


def test_padding_does_not_reach_the_ratings(corpus: Path, judgments: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    data = Judgments(judgments, tokenizer, CRITERIA, **PAIRS)
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
    module = Rater(tiny, CRITERIA, Optimization(torch.optim.AdamW, get_linear_schedule_with_warmup, 0.1), 0)
    together = torch.stack(module.scores(data.batch(np.arange(6))), dim=1)
    for pair in range(6):
        for text in range(2):
            alone = tiny(input_ids=torch.tensor([data.texts[2 * pair + text]])).logits[0]
            assert torch.allclose(together[pair, text], alone, atol=1e-5)


@pytest.mark.parametrize(("num_devices", "budget"), [(1, 700), (3, 300), (2, 1), (1, 100_000)])
def test_a_step_holds_each_pair_once_within_the_budget(
    corpus: Path, judgments: Path, num_devices: int, budget: int
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    data = Judgments(judgments, tokenizer, CRITERIA, **PAIRS | {"tokens_per_micro_batch": budget, "num_epochs": 2})
    passes = data.accumulation(num_devices)
    for step in range(data.num_steps):
        devices = [list(data.step_batches(step, rank, num_devices, passes)) for rank in range(num_devices)]
        assert {len(batches) for batches in devices} == {passes}
        batches = [batch for device in devices for batch in device]
        counted = [batch for batch in batches if batch["weight"] > 0]
        lengths = torch.cat([torch.stack([b["longer_mask"].sum(1), b["shorter_mask"].sum(1)], 1) for b in counted])
        expected = np.sort(data.lengths[data.step(step)], axis=1)[:, ::-1]
        assert sorted(map(tuple, lengths.tolist())) == sorted(map(tuple, expected.tolist()))
        for batch in batches:
            tokens = batch["longer_ids"].numel() + batch["shorter_ids"].numel()
            assert tokens <= budget or len(batch["longer_ids"]) == 1
        # the mean of the devices' and passes' weighted means is the mean over the step's preferences
        targets = [int((~torch.isnan(b["preference"])).sum()) for b in batches]
        whole = sum(n for n, b in zip(targets, batches, strict=True) if b["weight"] > 0)
        for number, batch in zip(targets, batches, strict=True):
            share = float(batch["weight"]) / (num_devices * passes)
            assert share == pytest.approx(number / whole if batch["weight"] > 0 else 0)


SMALL = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}


@pytest.mark.parametrize(
    ("model_type", "settings"),
    [
        ("gpt2", {"n_embd": 16, "n_layer": 1, "n_head": 2, "n_positions": 600}),
        ("qwen2", SMALL | {"num_key_value_heads": 1}),
        ("bert", SMALL),
        ("modernbert", SMALL),
        ("distilbert", {"dim": 16, "hidden_dim": 32, "n_layers": 1, "n_heads": 2}),
    ],
)
def test_any_backbone_rates_a_text_the_same_alone_and_padded(
    corpus: Path, judgments: Path, model_type: str, settings: dict[str, Any]
) -> None:
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    data = Judgments(judgments, tokenizer, CRITERIA, **PAIRS)
    made = networks.rater(model_type, tokenizer=tokenizer, criteria=CRITERIA, **settings)
    module = Rater(made, CRITERIA, Optimization(torch.optim.AdamW, get_linear_schedule_with_warmup, 0.1), 0)
    pairs = data.training[:4]
    bradley_terry.loss(*module.scores(data.batch(pairs)), data.preference[pairs]).backward()
    assert all(p.grad is not None for p in module.parameters())  # several devices wait for every gradient
    module.eval()
    together = torch.stack(module.scores(data.batch(pairs)), dim=1)
    for pair, scores in zip(pairs, together, strict=True):
        alone = torch.cat(module.scores(data.batch(np.array([pair]))))
        assert torch.allclose(scores, alone, atol=1e-5)


def test_texts_beyond_the_positions_of_a_network_are_refused(corpus: Path, judgments: Path, tmp_path: Path) -> None:
    few = functools.partial(networks.rater, "gpt2", n_embd=16, n_layer=1, n_head=2, n_positions=100)
    with pytest.raises(StageError, match=r"it reads 1 to 100 tokens, and a text may have 512 \(rater.max_tokens"):
        train(corpus, judgments, tmp_path / "a", network=few)


def test_a_network_that_padding_changes_is_refused(corpus: Path, judgments: Path, tmp_path: Path) -> None:
    right = functools.partial(networks.rater, "xlnet", d_model=16, n_layer=1, n_head=2, d_inner=16)
    with pytest.raises(StageError, match="xlnet reads a text otherwise when padding follows it"):
        train(corpus, judgments, tmp_path / "a", network=right)


def test_a_training_that_diverges_is_told(corpus: Path, judgments: Path, tmp_path: Path) -> None:
    optimizer = functools.partial(torch.optim.SGD, lr=1e30)
    with pytest.raises(StageError, match=r"the rater diverged: at step \d+ .* lower rater.optimizer.lr"):
        train(corpus, judgments, tmp_path / "a", optimizer=optimizer, gradient_clip_norm=None, num_epochs=1)


def test_lora_learns_and_leaves_a_plain_network(corpus: Path, judgments: Path, tmp_path: Path) -> None:
    pytest.importorskip("peft", reason="LoRA needs peft, an optional extra: pip install -e '.[lora]'")
    adapter = functools.partial(lora.adapted, r=2, lora_alpha=4)
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    adapted = adapter(network(0.0)(tokenizer=tokenizer, criteria=CRITERIA))
    learns = {name for name, weight in adapted.named_parameters() if weight.requires_grad}
    assert all("lora_" in name or "score" in name for name in learns)
    assert any("score" in name for name in learns)
    train(corpus, judgments, tmp_path / "one", lora=adapter, network=network(0.0), num_epochs=2)
    plain, loading = AutoModelForSequenceClassification.from_pretrained(tmp_path / "one", output_loading_info=True)
    assert not loading["missing_keys"]
    assert not loading["unexpected_keys"]
    assert not any("lora" in name for name in plain.state_dict())
    assert not any("adapter" in file.name for file in (tmp_path / "one").iterdir())
    with pytest.raises(ValueError, match=r"rater\.lora: .*rank"):
        lora.adapted(network(0.0)(tokenizer=tokenizer, criteria=CRITERIA), rank=3)


def test_lora_without_peft_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "peft", None)
    with pytest.raises(ValueError, match=r"pip install -e '\.\[lora\]'"):
        lora.adapted(torch.nn.Linear(1, 1))


@pytest.mark.parametrize("tokens_per_batch", [1, 300, 100_000])
def test_ratings_match_a_plain_loop(corpus: Path, judgments: Path, tmp_path: Path, tokens_per_batch: int) -> None:
    train(corpus, judgments, tmp_path / "rater", num_epochs=1)
    (tmp_path / "ratings").mkdir()
    arguments = RATE | {"max_tokens": 50, "tokens_per_batch": tokens_per_batch}
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
