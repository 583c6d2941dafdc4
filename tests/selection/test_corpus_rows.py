"""Reading the rows of a corpus to select from: shards and threads change nothing."""

import functools
import math
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from selection_example import chosen, corpus_with_tokens, ordered, rate_all, rows

from qurating.selection import corpus_rows, rules


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return corpus_with_tokens(tmp_path / "corpus")


def reshard(corpus: Path, folder: Path, num_shards: int, seed: int) -> Path:
    """The same rows in another order, over other shards."""
    table = rows(corpus)
    table = table.take(pa.array(np.random.default_rng(seed).permutation(len(table))))
    (folder / "train").mkdir(parents=True)
    size = -(-len(table) // num_shards)
    for number in range(num_shards):
        part = table.slice(number * size, size)
        # small row groups: chunks of the corpus and of the ratings do not end at the same rows
        pq.write_table(part, folder / "train" / f"{number:05d}.parquet", row_group_size=7)
    shutil.copytree(corpus / "tokenizer", folder / "tokenizer")
    return folder


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_one_shard_and_sixteen_give_the_same_subset(
    corpus: Path, tmp_path: Path, temperature: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(corpus_rows, "_ROWS_AT_ONCE", 11)
    score = {row["id"]: float(place % 9) for place, row in enumerate(rows(corpus).select(["id"]).to_pylist())}
    rule = functools.partial(rules.select, num_tokens=900, temperature=temperature)
    found, orders = [], []
    for num_shards in (1, 16):
        there = reshard(corpus, tmp_path / f"c{num_shards}", num_shards, seed=num_shards)
        scores = np.array([score[id_] for id_ in rows(there)["id"].to_pylist()])
        ratings = rate_all(there, tmp_path / f"r{num_shards}", scores)
        subset = chosen(there, tmp_path / f"s{num_shards}", ratings, rule=rule)
        found.append(set(subset["id"].to_pylist()))
        for method in ("shuffle", "folding", "curriculum"):
            output = tmp_path / f"{method}{num_shards}"
            orders.append(ordered(there, output, tmp_path / f"s{num_shards}", ratings, method)["id"].to_pylist())
    assert found[0] == found[1]
    assert orders[:3] == orders[3:]


def test_a_domain_that_the_reading_thread_finds_meanwhile_is_no_matter(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    rule = functools.partial(rules.select, num_tokens=800, temperature=math.inf)
    settings: dict[str, Any] = {"rule": rule, "criterion": None, "by_domain": False}
    expected = chosen(corpus, tmp_path / "a", None, **settings)

    class Growing(list[str]):
        """As seen by one thread while another adds to it: longer whenever it is gone through."""

        def __iter__(self) -> Iterator[str]:
            self.append(f"found meanwhile {len(self)}")
            return super().__iter__()

    original = corpus_rows.CorpusRows.__init__

    def patched(self: corpus_rows.CorpusRows, *arguments: Any) -> None:
        original(self, *arguments)
        if arguments[-1]:  # a column of domains
            self.domain_names = Growing(self.domain_names)

    monkeypatch.setattr(corpus_rows.CorpusRows, "__init__", patched)
    assert chosen(corpus, tmp_path / "b", None, **settings).equals(expected)
