"""Judged pairs of real text, and a small rater trained on them: for the tests of the rater."""

import functools
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytorch_lightning as pl
import torch
from judge_fixtures import real_corpus
from transformers import AutoTokenizer, get_linear_schedule_with_warmup

from qurating.models import networks
from qurating.stages.judging.train_rater import train_rater

CRITERIA = ["shortness", "reverse"]
# settings of the data module
PAIRS: dict[str, Any] = {
    "minimum_confidence": 0.5,
    "label_temperature": 1.0,
    "max_tokens": 512,
    "batch_size_pairs": 16,
    "tokens_per_micro_batch": 800,
    "num_epochs": 1,
    "validation_fraction": 0.2,
    "seed": 0,
}


def rated_corpus(folder: Path) -> Path:
    """Real text with its tokens and a tokenizer, as `prepare_corpus` writes them."""
    real_corpus(folder)
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    tokenizer.add_special_tokens({"eos_token": "<|endoftext|>"})
    tokenizer.save_pretrained(folder / "tokenizer")
    for file in (folder / "train").glob("*.parquet"):
        table = pq.read_table(file)
        ids = [tokenizer(text, add_special_tokens=False)["input_ids"][:120] for text in table["text"].to_pylist()]
        ids = [row or [1] for row in ids]  # a corpus holds no empty sequence
        ids = [[*row, tokenizer.eos_token_id] if i % 2 else row for i, row in enumerate(ids)]
        table = table.drop_columns("length").append_column("input_ids", pa.array(ids, pa.list_(pa.int32())))
        pq.write_table(table.append_column("length", pa.array(map(len, ids), pa.int32())), file)
    return folder


def judgments_of(corpus: Path, folder: Path) -> Path:
    """Real texts, cut to 10 to 60 words; preferences that can be learned: the text with fewer words, and the other."""
    rng = np.random.default_rng(0)
    table = pa.concat_tables([pq.read_table(file) for file in sorted((corpus / "train").glob("*.parquet"))])
    words = [text.split() for text in table["text"].to_pylist()]
    rows: dict[str, list[Any]] = {"texts": [], "domains": [], "shortness_average": [], "reverse_average": []}
    for _ in range(120):
        a, b = rng.choice(len(words), 2, replace=False)
        sizes = rng.integers(10, 60, 2)
        p = 0.95 if sizes[1] < sizes[0] - 5 else 0.05 if sizes[0] < sizes[1] - 5 else 0.5
        rows["texts"].append([" ".join(words[a][: sizes[0]]), " ".join(words[b][: sizes[1]])])
        rows["domains"].append([str(a % 2), str(b % 2)])
        rows["shortness_average"].append([[-100.0, p], [1 - p, -100.0]])
        rows["reverse_average"].append(
            [[-100.0, -100.0], [-100.0, -100.0]] if len(rows["texts"]) % 5 == 0 else [[-100.0, 1 - p], [p, -100.0]]
        )
    pq.write_table(pa.table(rows), folder / "judgments.parquet")
    return folder


def judged_pairs(folder: Path) -> tuple[Path, Path]:
    """A corpus and judgments on it."""
    for name in ("corpus", "judgments"):
        (folder / name).mkdir()
    corpus = rated_corpus(folder / "corpus")
    return corpus, judgments_of(corpus, folder / "judgments")


def network(dropout: float) -> functools.partial:
    return functools.partial(
        networks.rater,
        "llama",
        hidden_size=32,
        intermediate_size=64,
        num_hidden_layers=1,
        num_attention_heads=2,
        num_key_value_heads=2,
        attention_dropout=dropout,
    )


def train(corpus: Path, judgments: Path, output: Path, **changes: Any) -> dict[str, Any]:
    output.mkdir(exist_ok=True)
    settings: dict[str, Any] = {
        "criteria": CRITERIA,
        "network": network(0.1),
        "lora": None,
        "optimizer": functools.partial(torch.optim.AdamW, lr=3e-3),
        "schedule": functools.partial(get_linear_schedule_with_warmup),
        "trainer": functools.partial(
            pl.Trainer, accelerator="cpu", devices=1, enable_model_summary=False, log_every_n_steps=1
        ),
        "warmup_fraction": 0.1,
        "gradient_clip_norm": 1.0,
        "batch_size_pairs": 16,
        "tokens_per_micro_batch": 1800,
        "num_epochs": 3,
        "max_tokens": 512,
        "minimum_confidence": 0.5,
        "label_temperature": 1.0,
        "validation_fraction": 0.2,
        "checkpoint_every_steps": 2,
        "seed": 3,
    }
    return train_rater(output=output, corpus=corpus, judgments=judgments, **(settings | changes))
