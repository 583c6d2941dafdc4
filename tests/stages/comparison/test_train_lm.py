"""Training a language model on an order: what it writes, and that the seed says it all."""

import csv
import functools
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from evaluation_example import run
from gaps_example import corpus_with_gaps
from selection_example import chosen, ordered
from sweep_example import corpus as make_corpus
from transformers import AutoModelForCausalLM, AutoTokenizer, get_cosine_with_min_lr_schedule_with_warmup

from qurating.models import networks
from qurating.selection import rules
from qurating.stages.comparison.train_lm import train_lm

NETWORK = functools.partial(
    networks.language_model, "llama", hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
    num_key_value_heads=1, max_position_embeddings=32,
)  # fmt: skip


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A corpus of real text, and an order of some of it."""
    root = tmp_path_factory.mktemp("inputs")
    corpus = make_corpus(root / "corpus")
    rule = functools.partial(rules.select, num_tokens=2000, temperature=math.inf)
    chosen(corpus, root / "subset", None, rule=rule, criterion=None)
    ordered(corpus, root / "order", root / "subset", None, "shuffle")
    return corpus, root / "order"


def train(inputs: tuple[Path, Path], output: Path, seed: int = 1) -> dict[str, Any]:
    output.mkdir()
    return train_lm(
        output=output,
        corpus=inputs[0],
        order=inputs[1],
        network=NETWORK,
        optimizer=functools.partial(torch.optim.AdamW, lr=3e-2),
        schedule=functools.partial(get_cosine_with_min_lr_schedule_with_warmup, min_lr_rate=0.1),
        trainer=functools.partial(
            pl.Trainer, accelerator="cpu", devices=1, enable_model_summary=False, log_every_n_steps=1
        ),
        warmup_fraction=0.1,
        gradient_clip_norm=1.0,
        sequence_length=32,
        batch_size_sequences=8,
        micro_batch_size=8,
        checkpoint_every_steps=3,
        seed=seed,
    )


def test_it_reads_the_whole_order_once_and_leaves_a_folder_that_loads(
    inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    counts = train(inputs, tmp_path / "lm")
    stream = np.load(inputs[1] / "tokens.npy")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "lm")
    assert counts == {
        "tokens": len(stream),
        "steps": math.ceil(len(stream) / (8 * 32)),
        "parameters": model.num_parameters(),
    }
    with open(tmp_path / "lm/metrics.csv", newline="", encoding="utf-8") as stream_of_rows:
        rows = list(csv.DictReader(stream_of_rows))
    assert len(rows) == counts["steps"]
    assert float(rows[-1]["train/tokens"]) == len(stream)
    assert float(rows[-1]["train/loss"]) < float(rows[0]["train/loss"]) - 0.2
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "lm")
    assert tokenizer.get_vocab() == AutoTokenizer.from_pretrained(inputs[0] / "tokenizer").get_vocab()
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.eos_token_id == tokenizer.eos_token_id
    assert not (tmp_path / "lm/checkpoints").exists()


def test_the_seed_draws_the_weights(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    for name, seed in (("a", 1), ("b", 1), ("c", 2)):
        train(inputs, tmp_path / name, seed)
    a, b, c = ((tmp_path / name / "model.safetensors").read_bytes() for name in "abc")
    assert a == b
    assert a != c


def test_ids_with_gaps_have_their_embeddings(tmp_path: Path) -> None:
    corpus = corpus_with_gaps(tmp_path / "far", highest=299)
    rule = functools.partial(rules.select, num_tokens=200, temperature=math.inf)
    chosen(corpus, tmp_path / "subset", None, rule=rule, criterion=None)
    ordered(corpus, tmp_path / "order", tmp_path / "subset", None, "shuffle")
    train((corpus, tmp_path / "order"), tmp_path / "lm")
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "lm").get_input_embeddings().num_embeddings == 300
    run((corpus, tmp_path / "lm"), tmp_path / "evaluation")
