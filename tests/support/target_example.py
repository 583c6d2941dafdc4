"""Target sets from held-out text and from rows of files."""

import json
from pathlib import Path
from pydoc_data.topics import topics
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from qurating.corpus.targets import HeldOut, Source
from qurating.stages.lqs.prepare_target import prepare_target

DOMAIN = "stdlib_docstrings"
SENTENCES = [part.replace("\n", " ") for text in topics.values() for part in text.split("\n\n") if len(part) > 60]


def prepare(corpus: Path, output: Path, source: Source, **changes: Any) -> tuple[pa.Table, dict[str, Any]]:
    output.mkdir(parents=True, exist_ok=True)
    settings: dict[str, Any] = {"context_tokens": 4096, "on_too_long": "stop", "seed": 3} | changes
    counts = prepare_target(output=output, corpus=corpus, source=source, **settings)
    return pq.read_table(output / "target.parquet"), counts


def held_out(**changes: Any) -> HeldOut:
    settings: dict[str, Any] = {"domain": DOMAIN, "fraction": 0.6, "max_sequences": None} | changes
    return HeldOut(**settings)


def write(path: Path, rows: list[Any]) -> Path:
    path.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return path


GOOD = {
    "chat": ["How is a list copied?", "With copy.copy, or a slice."],
    "q": "Why?",
    "a": "Because.",
    "text": "A text.",
}
OF_CHATS: Any = {"conversations_field": "chat"}
