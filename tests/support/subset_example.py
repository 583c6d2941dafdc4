"""A corpus of invented words with copies planted in it, and subsets of it."""

import functools
import itertools
import json
import random
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qurating.artifacts.files import write_json
from qurating.selection import rules
from qurating.stages.selection.check_subset import check_subset
from qurating.stages.selection.report_subset import report_subset
from qurating.stages.selection.select import select

WORDS = [a + b for a, b in itertools.product("bdfglmnprst", "aeiou")]
NUM_ROWS = 90


def sentence(rng: random.Random, num_words: int) -> str:
    return " ".join(rng.choices(WORDS, k=num_words))


def some_texts() -> list[str]:
    """With a copy, a copy in other signs, and a script among them."""
    rng = random.Random()
    found = [sentence(rng, rng.randint(20, 60)) for _ in range(NUM_ROWS)]
    found[50] = found[10]  # the very text
    found[60] = found[20].replace(" ", ", ").upper()  # the same words
    found[3] = "<script>alert(1)</script> " + found[3]
    return found


def corpus_of(texts: list[str], folder: Path) -> Path:
    """Three shards; two domains; two held-out texts, of which one quotes a training text."""
    for number, rows in enumerate(np.array_split(np.arange(NUM_ROWS), 3)):
        table = {
            "id": 1000 + rows,
            "document_id": [f"d{row}" for row in rows],
            "domain": ["web" if row % 3 else "books" for row in rows],
            "text": [texts[row] for row in rows],
            "length": pa.array([len(texts[row].split()) for row in rows], pa.int32()),
        }
        (folder / "train").mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(table), folder / f"train/{number:05}.parquet", row_group_size=7)
    (folder / "heldout").mkdir()
    quoting = "So it says: " + " ".join(texts[30].split()[:13]) + " and no more of it at all."
    held = {"document_id": ["h0", "h1"], "domain": ["web", "web"], "text": [sentence(random.Random(), 40), quoting]}
    pq.write_table(pa.table(held), folder / "heldout/00000.parquet")
    return folder


def ratings_of(corpus: Path, scores: np.ndarray, folder: Path) -> Path:
    """By one criterion, `c`, of a simulated judge."""
    (folder / "train").mkdir(parents=True)
    for file, part in zip(sorted((corpus / "train").iterdir()), np.array_split(scores, 3), strict=True):
        table = pq.read_table(file, columns=["id", "length"]).append_column("c_average", pa.array(part))
        pq.write_table(table, folder / "train" / file.name)
    write_json(folder / "manifest.json", {"labels": ["simulated judge"]})
    return folder


def chosen(
    corpus: Path,
    ratings: Path | None,
    folder: Path,
    num_tokens: int = 1500,
    domain_column: str = "domain",
    seed: int = 0,
    **how: Any,
) -> Path:
    """A subset as the pipeline leaves it."""
    folder.mkdir(parents=True)
    rule = functools.partial(rules.select, num_tokens=num_tokens, **how)
    counts = select(
        output=folder, corpus=corpus, ratings=ratings, rule=rule, criterion="c" if ratings else None, by_domain=False,
        domain_column=domain_column, label=folder.name, seed=seed,
    )  # fmt: skip
    labels = [*counts.pop("labels", []), *(["simulated judge"] if ratings else [])]
    inputs = {"corpus": f"corpora/{corpus.name} (0123)"}
    write_json(
        folder / "manifest.json",
        {
            "config": {"label": folder.name, "domain_column": domain_column},
            "inputs": inputs,
            "counts": counts,
            "labels": labels,
        },
    )
    return folder


def reported(output: Path, corpus: Path, subset: Path, ratings: Path | None, *others: Path, **changes: Any) -> Any:
    output.mkdir()
    settings: dict[str, Any] = {"criterion": "c", "duplicates": True, "max_rated_rows": 1000, "num_examples": 4}
    settings |= {"excerpt_characters": 200, "seed": 0} | changes
    report_subset(output=output, corpus=corpus, subset=subset, ratings=ratings, compared_with=others, **settings)
    return json.loads((output / "report.json").read_text())


def checked(output: Path, corpus: Path, subset: Path, **changes: Any) -> Any:
    output.mkdir()
    settings: dict[str, Any] = {
        "similarity": 0.8,
        "words_of_duplicates": 5,
        "num_hashes": 128,
        "num_bands": 16,
        "words_of_contamination": 13,
        "heldout": True,
        "evaluation_paths": None,
        "evaluation_files": None,
        "evaluation_field": "text",
        "remove": [],
        "num_examples": 3,
        "excerpt_characters": 200,
        "label": "c",
    }
    return check_subset(output=output, corpus=corpus, subset=subset, **(settings | changes))


def rows_of(subset: Path) -> list[int]:
    return [i - 1000 for i in pq.read_table(subset / "subset.parquet")["id"].to_pylist()]
