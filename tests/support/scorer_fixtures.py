"""What the scorer's tests share: a corpus of real paragraphs, scores that can be learned, a training of seconds."""

import functools
import pydoc_data.topics
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytorch_lightning as pl
import torch
from judge_fixtures import make_corpus
from transformers import AutoTokenizer, PreTrainedTokenizerBase, get_cosine_with_min_lr_schedule_with_warmup

from qurating.corpus.token_reader import TokenReader
from qurating.datamodules.scores import Scores
from qurating.models import networks
from qurating.stages.lqs.train_scorer import train_scorer

MAX_TOKENS = 24


def corpus_of_paragraphs(folder: Path, num_paragraphs: int = 220) -> Path:
    """Paragraphs of Python's documentation, 40 to 200 characters, in four shards, every second with an end of text."""
    paragraphs = [" ".join(p.split()) for text in pydoc_data.topics.topics.values() for p in text.split("\n\n")]
    chosen = [p for p in dict.fromkeys(paragraphs) if 40 <= len(p) <= 200][:num_paragraphs]
    code = [p for p in chosen if "(" in p]
    make_corpus(
        folder, {"code": code, "prose": [p for p in chosen if p not in code]}, rows_per_shard=-(-num_paragraphs // 4)
    )
    tokenizer = AutoTokenizer.from_pretrained(folder / "tokenizer")
    tokenizer.add_special_tokens({"eos_token": "<|endoftext|>"})
    tokenizer.save_pretrained(folder / "tokenizer")
    for file in (folder / "train").glob("*.parquet"):
        table = pq.read_table(file)
        ids = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in table["text"].to_pylist()]
        ids = [[*row, tokenizer.eos_token_id] if i % 2 else row for i, row in enumerate(ids)]
        table = table.drop_columns("length").append_column("input_ids", pa.array(ids, pa.list_(pa.int32())))
        pq.write_table(table.append_column("length", pa.array(map(len, ids), pa.int32())), file)
    return folder


def rows(corpus: Path) -> pa.Table:
    """All training sequences, with the shard and row of each."""
    tables = []
    for number, file in enumerate(sorted((corpus / "train").glob("*.parquet"))):
        table = pq.read_table(file)
        table = table.append_column("shard", pa.array([number] * len(table), pa.int32()))
        tables.append(table.append_column("row", pa.array(range(len(table)), pa.int32())))
    return pa.concat_tables(tables)


def annotation_of(corpus: Path, folder: Path, **changes: Any) -> Path:
    """Scores that a small network can learn: how many of the characters are no letters, in a unit like LQS'."""
    folder.mkdir(parents=True)
    table = rows(corpus)
    order = np.random.default_rng(5).permutation(len(table))
    texts = table["text"].to_pylist()
    scores = np.array([np.mean([not c.isalpha() for c in text]) for text in texts]) * 1e-4 - 3e-5
    columns = {name: table[name].take(pa.array(order)) for name in ("id", "shard", "row", "length", "domain")}
    pq.write_table(pa.table(columns | {"lqs": scores[order]} | changes), folder / "annotation.parquet")
    return folder


def network(model_type: str = "llama", dropout: float = 0.0) -> functools.partial:
    settings: dict[str, Any] = {
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "max_position_embeddings": 64,
    }
    if model_type == "bert":
        settings |= {"hidden_dropout_prob": dropout, "attention_probs_dropout_prob": dropout}
    else:
        settings |= {"num_key_value_heads": 2, "attention_dropout": dropout}
    return functools.partial(networks.encoder, model_type, **settings)


def train(corpus: Path, annotation: Path, output: Path, **changes: Any) -> dict[str, Any]:
    output.mkdir(exist_ok=True)
    settings: dict[str, Any] = {
        "network": network(),
        "optimizer": functools.partial(torch.optim.AdamW, lr=3e-3),
        "schedule": functools.partial(get_cosine_with_min_lr_schedule_with_warmup, min_lr_rate=0.001),
        "trainer": functools.partial(
            pl.Trainer, accelerator="cpu", devices=1, enable_model_summary=False, log_every_n_steps=1
        ),
        "warmup_fraction": 0.1,
        "gradient_clip_norm": 1.0,
        "batch_size_sequences": 32,
        "micro_batch_size": 16,
        "num_epochs": 2,
        "max_tokens": MAX_TOKENS,
        "clip_standard_deviations": 3.0,
        "validation_fraction": 0.2,
        "checkpoint_every_steps": 4,
        "seed": 3,
    }
    return train_scorer(output=output, corpus=corpus, annotation=annotation, **(settings | changes))


def scores_of(
    corpus: Path,
    annotation: Path,
    micro_batch_size: int = 16,
    batch_size: int = 32,
    tokenizer: PreTrainedTokenizerBase | None = None,
) -> Scores:
    reader = TokenReader(corpus, tokenizer or AutoTokenizer.from_pretrained(corpus / "tokenizer"))
    return Scores(
        corpus,
        annotation,
        reader,
        max_tokens=MAX_TOKENS,
        batch_size_sequences=batch_size,
        micro_batch_size=micro_batch_size,
        num_epochs=2,
        validation_fraction=0.2,
        seed=1,
    )
