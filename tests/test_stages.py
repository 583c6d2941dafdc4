"""Selection and order as stages: what they refuse, on a real corpus artifact."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from judge_fixtures import real_corpus
from transformers import AutoTokenizer

from qurating import ordering, selection
from qurating.artifacts import StageError, seed_for
from qurating.stages.order import order
from qurating.stages.select import select


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    folder = real_corpus(tmp_path / "corpus")
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    for file in (folder / "train").glob("*.parquet"):
        table = pq.read_table(file)
        ids = [tokenizer(text)["input_ids"][:50] or [1] for text in table["text"].to_pylist()]
        table = table.append_column("input_ids", pa.array(ids, pa.list_(pa.int32())))
        pq.write_table(table.append_column("length", pa.array(map(len, ids), pa.int32())), file)
    return folder


def rows(corpus: Path) -> pa.Table:
    return pa.concat_tables([pq.read_table(file) for file in sorted((corpus / "train").glob("*.parquet"))])


def rate_all(corpus: Path, folder: Path, scores: np.ndarray) -> Path:
    (folder / "train").mkdir(parents=True)
    start = 0
    for file in sorted((corpus / "train").glob("*.parquet")):
        ids = pq.read_table(file, columns=["id"])["id"]
        pq.write_table(
            pa.table({"id": ids, "c_average": scores[start : start + len(ids)]}), folder / "train" / file.name
        )
        start += len(ids)
    return folder


def chosen(corpus: Path, output: Path, ratings: Path | None, num_tokens: int = 800, **changes: Any) -> pa.Table:
    output.mkdir(exist_ok=True)
    rule = functools.partial(selection.select, num_tokens=num_tokens, temperature=1.0)
    settings: dict[str, Any] = {"rule": rule, "criterion": "c", "by_domain": True, "label": "c", "seed": 5} | changes
    select(output=output, corpus=corpus, ratings=ratings, **settings)
    return pq.read_table(output / "subset.parquet")


def ordered(corpus: Path, output: Path, subset: Path, ratings: Path | None, method: str) -> pa.Table:
    output.mkdir(exist_ok=True)
    settings: dict[str, Any] = {"criterion": "c", "num_folds": 3, "temperature": 1.0, "descending": False, "seed": 5}
    order(output=output, corpus=corpus, subset=subset, ratings=ratings, method=method, **settings)
    return pq.read_table(output / "order.parquet")


def test_the_stage_selects_what_the_maths_selects(corpus: Path, tmp_path: Path) -> None:
    table = rows(corpus)
    scores = np.random.default_rng().normal(size=len(table))
    subset = chosen(corpus, tmp_path / "s", rate_all(corpus, tmp_path / "r", scores))
    expected = selection.select(
        scores,
        table["length"].to_numpy(),
        800,
        temperature=1.0,
        domains=table["domain"].to_numpy(zero_copy_only=False),
        ids=table["id"].to_numpy(),
        seed=seed_for(5, "select", "noise"),
    )
    assert subset["id"].to_pylist() == table["id"].take(pa.array(expected)).to_pylist()
    assert subset["score"].to_pylist() == scores[expected].tolist()
    files = sorted((corpus / "train").glob("*.parquet"))
    for row in subset.to_pylist():
        assert pq.read_table(files[row["shard"]])["id"][row["row"]].as_py() == row["id"]


@pytest.mark.parametrize("method", ["shuffle", "sorting", "folding", "curriculum"])
def test_the_stage_orders_as_the_maths_orders(corpus: Path, tmp_path: Path, method: str) -> None:
    table = rows(corpus)
    scores = np.random.default_rng().normal(size=len(table))
    ratings = rate_all(corpus, tmp_path / "r", scores)
    subset = chosen(corpus, tmp_path / "s", ratings)
    found = ordered(corpus, tmp_path / "o", tmp_path / "s", ratings, method)
    ids, own = subset["id"].to_numpy(), subset["score"].to_numpy()
    seed = seed_for(5, "order", method)
    permutation = {
        "shuffle": lambda: ordering.shuffle(ids, seed),
        "sorting": lambda: ordering.sort(own, ids),
        "folding": lambda: ordering.fold(own, 3),
        "curriculum": lambda: ordering.curriculum(own, ids, 1.0, seed, descending=False),
    }[method]()
    assert found["id"].to_numpy().tolist() == ids[permutation].tolist()
    by_id = dict(zip(table["id"].to_pylist(), table["input_ids"].to_pylist(), strict=True))
    stream = np.load(tmp_path / "o/tokens.npy")
    assert stream.tolist() == [token for sequence in found["id"].to_pylist() for token in by_id[sequence]]


def test_bad_ratings_are_refused(corpus: Path, tmp_path: Path) -> None:
    scores = np.zeros(len(rows(corpus)))
    scores[3] = np.nan
    nan = rate_all(corpus, tmp_path / "nan", scores)
    with pytest.raises(StageError, match="1 scores are NaN or infinite, the first at position 3"):
        chosen(corpus, tmp_path / "s", nan)
    chosen(corpus, tmp_path / "all", None, num_tokens=int(rows(corpus)["length"].to_numpy().sum()), criterion=None)
    with pytest.raises(StageError, match="1 ratings are NaN or infinite, the first of id"):
        ordered(corpus, tmp_path / "o", tmp_path / "all", nan, "sorting")
    good = rate_all(corpus, tmp_path / "good", np.zeros(len(scores)))
    with pytest.raises(StageError, match="has no ratings by d; there are c"):
        chosen(corpus, tmp_path / "s", good, criterion="d")
    with pytest.raises(StageError, match="needs ratings: set ordering"):
        ordered(corpus, tmp_path / "o", tmp_path / "all", None, "folding")
    with pytest.raises(StageError, match="there is no ordering 'fold'; there are shuffle"):
        ordered(corpus, tmp_path / "o", tmp_path / "all", good, "fold")


def test_ratings_and_subsets_of_another_corpus_are_refused(corpus: Path, tmp_path: Path) -> None:
    ratings = rate_all(corpus, tmp_path / "r", np.zeros(len(rows(corpus))))
    chosen(corpus, tmp_path / "s", ratings)
    for file in (corpus / "train").glob("*.parquet"):
        table = pq.read_table(file)
        ids = pa.array(table["id"].to_numpy() + 10_000)
        pq.write_table(table.set_column(table.schema.get_field_index("id"), "id", ids), file)
    with pytest.raises(StageError, match="holds ratings of another corpus"):
        chosen(corpus, tmp_path / "t", ratings)
    with pytest.raises(StageError, match="was selected from another corpus"):
        ordered(corpus, tmp_path / "o", tmp_path / "s", None, "shuffle")
