"""Judgments as batches: a step holds each pair once."""

from pathlib import Path

import numpy as np
import pytest
import torch
from rater_fixtures import CRITERIA, PAIRS, judgments_of, rated_corpus
from transformers import AutoTokenizer

from qurating.datamodules.judgments import Judgments


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rated_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def judgments(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return judgments_of(corpus, tmp_path_factory.mktemp("judgments"))


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
