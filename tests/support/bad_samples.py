"""Samples that an annotation cannot use."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import torch
from annotation_example import VOCABULARY, proxy_sequences
from transformers import AutoModelForCausalLM


def change_rows(file: Path, change: Callable[[dict[str, Any]], None]) -> None:
    table = pq.read_table(file)
    rows = table.to_pylist()
    for row in rows:
        change(row)
    pq.write_table(pa.Table.from_pylist(rows, table.schema), file)


def poison(inputs: dict[str, Path], *, proxy: set[int] = frozenset(), target: set[str] = frozenset()) -> None:  # type: ignore[assignment]
    """Let samples end in a token that nothing else has, and whose embedding is not a number."""
    used = {token for row in proxy_sequences(inputs) for token in row["input_ids"]}
    used |= {
        token for ids in pq.read_table(inputs["target"] / "target.parquet")["input_ids"].to_pylist() for token in ids
    }
    token = max(set(range(VOCABULARY)) - used)

    def change(row: dict[str, Any]) -> None:
        if row.get("id") in proxy or row["document_id"] in target:
            row["input_ids"] = [*row["input_ids"][:-2], token, row["input_ids"][-1]]

    for file in [*(inputs["corpus"] / "train").glob("*.parquet"), inputs["target"] / "target.parquet"]:
        change_rows(file, change)
    model = AutoModelForCausalLM.from_pretrained(inputs["proxy_lm"])
    with torch.no_grad():
        model.get_input_embeddings().weight[token] = float("nan")
    model.save_pretrained(inputs["proxy_lm"])


def left_out(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "left_out.jsonl").read_text(encoding="utf-8").splitlines()]
