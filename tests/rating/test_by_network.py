"""Ratings of a corpus by a network against a plain loop."""

from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from rater_fixtures import CRITERIA, judgments_of, rated_corpus, train
from transformers import AutoModelForSequenceClassification

from qurating.corpus.windows import weighted_mean, windows
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


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return rated_corpus(tmp_path_factory.mktemp("corpus"))


@pytest.fixture(scope="module")
def judgments(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return judgments_of(corpus, tmp_path_factory.mktemp("judgments"))


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
