"""Shards of ratings that are stale."""

import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from rating_example import averages, classifier, rated, save, shards
from scorer_fixtures import corpus_of_paragraphs
from transformers import AutoModelForSequenceClassification

from qurating.rating import shards as rating_shards
from qurating.runtime.errors import StageError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus_of_paragraphs(tmp_path_factory.mktemp("corpus"), num_paragraphs=80)


@pytest.fixture(scope="module")
def rater(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(classifier(), corpus, tmp_path_factory.mktemp("rater"))


def test_stale_ratings_are_made_again(
    corpus: Path, rater: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(corpus, tmp_path / "corpus")
    rated(tmp_path / "r", copy, rater)
    before = averages(tmp_path / "r")
    rating_shards.check_fresh(copy, tmp_path / "r")
    rated(tmp_path / "r", copy, rater)
    assert "rated again" not in capsys.readouterr().out
    # the same rows in another order
    time.sleep(0.02)
    table = pq.read_table(shards(copy)[1])
    pq.write_table(table.take(list(range(len(table)))[::-1]), shards(copy)[1])
    with pytest.raises(StageError, match=r"00001.parquet is stale: .*was changed after it was rated"):
        rating_shards.check_fresh(copy, tmp_path / "r")
    rated(tmp_path / "r", copy, rater)
    assert capsys.readouterr().out.count("rated again") == 1
    rating_shards.check_fresh(copy, tmp_path / "r")
    first = len(pq.read_table(shards(copy)[0]))
    now = averages(tmp_path / "r")
    np.testing.assert_allclose(now[first : first + len(table)], before[first : first + len(table)][::-1], atol=1e-5)
    # written again, with the same content: that is no change
    shards(copy)[2].write_bytes(shards(copy)[2].read_bytes())
    rating_shards.check_fresh(copy, tmp_path / "r")
    # another network
    other = save(classifier(), copy, tmp_path / "other")
    model = AutoModelForSequenceClassification.from_pretrained(other)
    with torch.no_grad():
        model.score.weight.add_(1)
    model.save_pretrained(other)
    rated(tmp_path / "r", copy, other)
    assert capsys.readouterr().out.count("made by another network") == 4
    assert np.abs(averages(tmp_path / "r") - now).min() > 1e-3
    shutil.copy(shards(tmp_path / "r")[0], tmp_path / "r/train/00009.parquet")
    with pytest.raises(StageError, match=r"00009.parquet belongs to no shard"):
        rated(tmp_path / "r", copy, other)
    (tmp_path / "r/train/00000.parquet").unlink()
    with pytest.raises(StageError, match=r"00000.parquet is missing \(and 1 more\)"):
        rating_shards.check_fresh(copy, tmp_path / "r")
