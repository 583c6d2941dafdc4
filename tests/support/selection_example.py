"""Selection and order of a small corpus of real text, by given scores."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from judge_fixtures import real_corpus
from transformers import AutoTokenizer

from qurating.selection import rules
from qurating.stages.selection.order import order
from qurating.stages.selection.select import select


def corpus_with_tokens(folder: Path) -> Path:
    """Real text in shards, at most 50 tokens a sequence."""
    folder = real_corpus(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    for file in (folder / "train").glob("*.parquet"):
        table = pq.read_table(file)
        ids = [tokenizer(text)["input_ids"][:50] or [1] for text in table["text"].to_pylist()]
        table = table.drop_columns("length").append_column("input_ids", pa.array(ids, pa.list_(pa.int32())))
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
    counts_of_chosen(corpus, output, ratings, num_tokens, **changes)
    return pq.read_table(output / "subset.parquet")


def counts_of_chosen(
    corpus: Path, output: Path, ratings: Path | None, num_tokens: int = 800, **changes: Any
) -> dict[str, Any]:
    output.mkdir(exist_ok=True)
    rule = functools.partial(rules.select, num_tokens=num_tokens, temperature=1.0)
    settings: dict[str, Any] = {"rule": rule, "criterion": "c", "by_domain": True, "domain_column": "domain"}
    settings |= {"label": "c", "seed": 5} | changes
    return select(output=output, corpus=corpus, ratings=ratings, **settings)


def ordered(corpus: Path, output: Path, subset: Path, ratings: Path | None, method: str, **changes: Any) -> pa.Table:
    counts_of_ordered(corpus, output, subset, ratings, method, **changes)
    return pq.read_table(output / "order.parquet")


def counts_of_ordered(
    corpus: Path, output: Path, subset: Path, ratings: Path | None, method: str, **changes: Any
) -> dict[str, Any]:
    output.mkdir(exist_ok=True)
    settings: dict[str, Any] = {"criterion": "c", "column": None, "num_folds": 3, "temperature": 1.0}
    settings |= {"descending": False, "seed": 5} | changes
    return order(output=output, corpus=corpus, subset=subset, ratings=ratings, method=method, **settings)
