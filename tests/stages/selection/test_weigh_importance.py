"""Importance weights of each shard, and input without weights."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from baselines_example import weighed
from scorer_fixtures import corpus_of_paragraphs

from qurating.rating.importance import count_ngrams, log_ratio, log_weights
from qurating.runtime.errors import StageError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus_of_paragraphs(tmp_path_factory.mktemp("corpus"), num_paragraphs=60)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("target")
    pq.write_table(pa.table({"text": ["f(x) = [y for y in x]", "g(*a, **b)"]}), folder / "target.parquet")
    return folder


def test_each_shard_has_its_importance_weights(corpus: Path, target: Path, tmp_path: Path) -> None:
    counts = weighed(tmp_path / "out", corpus, target)
    files = sorted((corpus / "train").glob("*.parquet"))
    tables = [pq.read_table(file) for file in files]
    texts = [text for table in tables for text in table["text"].to_pylist()]
    examples = pq.read_table(target / "target.parquet")["text"].to_pylist()
    expected = log_weights(texts, log_ratio(count_ngrams(examples, 500), count_ngrams(texts, 500)))
    found = [pq.read_table(tmp_path / "out/train" / file.name) for file in files]
    np.testing.assert_array_equal(np.concatenate([t["dsir_average"].to_numpy() for t in found]), expected)
    for table, rated in zip(tables, found, strict=True):
        assert rated["id"].equals(table["id"])
        assert rated["chunk_lengths"].to_pylist() == [[length] for length in table["length"].to_pylist()]
    assert counts == {
        "sequences": 60,
        "tokens": sum(sum(t["length"].to_pylist()) for t in tables),
        "criteria": ["dsir"],
    }
    is_code = np.array([domain == "code" for table in tables for domain in table["domain"].to_pylist()])
    assert expected[is_code].mean() > expected[~is_code].mean()


def test_what_cannot_be_weighed_is_refused(corpus: Path, target: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no target set"):
        weighed(tmp_path / "a", corpus, None)
    with pytest.raises(StageError, match="num_buckets must be at least 2"):
        weighed(tmp_path / "b", corpus, target, num_buckets=1)
    pq.write_table(pa.table({"text": [" ", ""]}), tmp_path / "target.parquet")
    with pytest.raises(StageError, match="no word in the target"):
        weighed(tmp_path / "c", corpus, tmp_path)
