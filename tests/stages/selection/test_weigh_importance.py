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


def test_sequences_without_words_are_counted_by_domain(corpus: Path, target: Path, tmp_path: Path) -> None:
    (tmp_path / "corpus/train").mkdir(parents=True)
    texts = ["", "\n \u3000", "。", "天气", "x", "\x1c\x85"]
    empty: dict[str, int] = {}
    for file in sorted((corpus / "train").glob("*.parquet")):
        table = pq.read_table(file)
        new = [texts[row] if row < len(texts) else text for row, text in enumerate(table["text"].to_pylist())]
        assert count_ngrams([texts[0], texts[1], texts[5]], 500).sum() == 0
        for row in (0, 1, 5):
            domain = table["domain"][row].as_py()
            empty[domain] = empty.get(domain, 0) + 1
        table = table.set_column(table.column_names.index("text"), "text", pa.array(new))
        pq.write_table(table, tmp_path / "corpus/train" / file.name, row_group_size=7)
    counts = weighed(tmp_path / "out", tmp_path / "corpus", target)
    assert counts["without_words"] == empty
    assert sum(empty.values()) >= 3
    again = weighed(tmp_path / "out", tmp_path / "corpus", target)  # of finished shards and a finished log ratio
    assert again == counts


def test_what_cannot_be_weighed_is_refused(corpus: Path, target: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no target set"):
        weighed(tmp_path / "a", corpus, None)
    with pytest.raises(StageError, match="num_buckets must be at least 2"):
        weighed(tmp_path / "b", corpus, target, num_buckets=1)
    pq.write_table(pa.table({"text": [" ", ""]}), tmp_path / "target.parquet")
    with pytest.raises(StageError, match="no word in the target"):
        weighed(tmp_path / "c", corpus, tmp_path)
