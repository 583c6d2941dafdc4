"""Tables in the form of QuRating's released corpus, and the tokenizer that made their tokens."""

import pydoc_data.topics
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qurating.corpus import tokenizing

LENGTH = 32  # tokens of a sequence; 1,024 in the released tables
TEXTS = list(pydoc_data.topics.topics.values())
CRITERIA = ("writing_style", "required_expertise", "facts_and_trivia", "educational_value")


def tokenizer_of(folder: Path, vocabulary_size: int = 600) -> Path:
    tokenizing.train_bpe(TEXTS, vocabulary_size, folder)
    return folder


def released_tables(folder: Path, tokenizer: Path, num_files: int = 2, num_rows: int = 120) -> list[dict[str, Any]]:
    """Write files of sequences with tokens, texts, domains, ratings and their windows; returns their rows."""
    loaded = tokenizing.load(tokenizer)
    draw = np.random.default_rng(0)
    rows: list[dict[str, Any]] = []
    for topic, text in pydoc_data.topics.topics.items():
        ids, _ = tokenizing.encode(loaded.tokenizer, text)
        for start in range(0, len(ids) - LENGTH + 1, LENGTH):
            own = ids[start : start + LENGTH]
            row = {
                "input_ids": own.tolist(),
                "text": loaded.tokenizer.decode(own.tolist(), skip_special_tokens=False),
                "length": LENGTH,
                "source_domain": "RedPajamaC4" if len(topic) % 2 else "RedPajamaBook",
                "chunk_lengths": [LENGTH // 2] * 2,
            }
            for criterion in CRITERIA:
                chunks = draw.normal(size=2).tolist()
                row |= {f"{criterion}_chunks": chunks, f"{criterion}_average": sum(chunks) / 2}
            rows.append(row)
    rows = rows[: num_files * num_rows]
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(num_files):
        part = pa.Table.from_pylist(rows[number * num_rows : (number + 1) * num_rows])
        pq.write_table(part, folder / f"train-{number:05d}-of-{num_files:05d}.parquet", row_group_size=50)
    return rows
