"""Training a language model on an order: what it writes, and that the seed says it all."""

import csv
import functools
import json
import math
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import pytorch_lightning as pl
import torch
from evaluation_example import run
from gaps_example import corpus_with_gaps
from selection_example import chosen, ordered
from sweep_example import corpus as make_corpus
from transformers import AutoModelForCausalLM, AutoTokenizer, get_cosine_with_min_lr_schedule_with_warmup

from qurating.artifacts.files import write_table
from qurating.metrics.loss_curve import loss_curve
from qurating.models import networks
from qurating.runtime.errors import StageError
from qurating.selection import rules
from qurating.stages.comparison.evaluate import evaluate
from qurating.stages.comparison.train_lm import train_lm

NETWORK = functools.partial(
    networks.language_model, "llama", hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
    num_key_value_heads=1, max_position_embeddings=64,
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


def train(inputs: tuple[Path, Path], output: Path, seed: int = 1, **changed: Any) -> dict[str, Any]:
    output.mkdir()
    given: dict[str, Any] = {"network": NETWORK, "batch_size_sequences": 8, "warmup_fraction": 0.1}
    return train_lm(
        output=output,
        corpus=inputs[0],
        order=inputs[1],
        optimizer=functools.partial(torch.optim.AdamW, lr=3e-2),
        schedule=functools.partial(get_cosine_with_min_lr_schedule_with_warmup, min_lr_rate=0.1),
        trainer=functools.partial(
            pl.Trainer, accelerator="cpu", devices=1, enable_model_summary=False, log_every_n_steps=1
        ),
        gradient_clip_norm=1.0,
        sequence_length=32,
        micro_batch_size=8,
        checkpoint_every_steps=3,
        seed=seed,
        **given | changed,
    )


def test_it_reads_the_whole_order_once_and_leaves_a_folder_that_loads(
    inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    counts = train(inputs, tmp_path / "lm")
    stream = np.load(inputs[1] / "tokens.npy")
    model = AutoModelForCausalLM.from_pretrained(tmp_path / "lm")
    assert counts.pop("tokens_per_second") > 0
    assert counts.pop("mfu") > 0
    assert counts.pop("peak_memory_gb") > 0
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
    a, b, c = (weights(tmp_path / name) for name in "abc")
    assert a == b
    assert a != c


@pytest.mark.parametrize("with_target", [False, True])
def test_the_curve_ends_with_what_the_evaluation_measures(
    inputs: tuple[Path, Path], tmp_path: Path, with_target: bool
) -> None:
    counts = train(inputs, tmp_path / "lm", heldout_points=4, record_ids=True)
    read = pq.read_table(tmp_path / "lm/ids_by_step.parquet")
    assert (max(read["step"].to_pylist()), sum(read["tokens"].to_pylist())) == (counts["steps"], counts["tokens"])
    assert f"| steps | {counts['steps']:,} |" in (tmp_path / "lm/README.md").read_text(encoding="utf-8")
    excluded, without = None, set[str]()
    if with_target:
        held = pq.read_table(inputs[0] / "heldout", columns=["document_id"]).slice(0, 9)
        excluded, without = tmp_path / "target", set(held["document_id"].to_pylist())
        write_table(excluded / "target.parquet", held)
    (tmp_path / "evaluation").mkdir()
    evaluate(
        output=tmp_path / "evaluation",
        corpus=inputs[0],
        language_model=tmp_path / "lm",
        batch_size_sequences=5,
        precision="32-true",
        accelerator="cpu",
        excluded=excluded,
    )
    table = pq.read_table(tmp_path / "lm/curve.parquet")
    last = loss_curve(table, {*table["document_id"].to_pylist()} - without)[-1]
    measured = json.loads((tmp_path / "evaluation/metrics.json").read_text(encoding="utf-8"))
    assert (last.step, last.tokens) == (counts["steps"], counts["tokens"])
    assert last.num_tokens == measured["overall"]["num_tokens"]
    assert last.nats_per_token == pytest.approx(measured["overall"]["nats_per_token"], rel=1e-6)
    by_domain = {name: each["nats_per_token"] for name, each in measured["domains"].items()}
    assert last.domains == pytest.approx(by_domain, rel=1e-6)
    whole = loss_curve(table)[-1]  # what the manifest counts, whatever an evaluation leaves out
    assert (counts["heldout_nats_per_token"], counts["heldout_tokens"]) == (whole.nats_per_token, whole.num_tokens)
    assert (whole == last) == (not with_target)


def test_a_training_continues_from_a_model_where_that_ended(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    train(inputs, tmp_path / "first", heldout_points=1)
    # the first step of a warm-up has a learning rate of 0: after it, the weights are those of the start
    more: dict[str, Any] = {"heldout_at_tokens": [1], "warmup_fraction": None, "warmup_steps": 2}
    given = {"network": None, "from_pretrained": str(tmp_path / "first")}
    train(inputs, tmp_path / "second", 2, **given, **more)
    ended, begun = (pq.read_table(tmp_path / name / "curve.parquet") for name in ("first", "second"))
    first = begun.filter(pc.equal(begun["step"], 1))
    assert first["nll_nats"].to_pylist() == ended["nll_nats"].to_pylist()
    assert loss_curve(begun)[-1].nats_per_token < loss_curve(ended)[-1].nats_per_token - 0.05
    # seeds draw weights alone, and none are drawn
    train(inputs, tmp_path / "third", 3, **given, **more)
    assert weights(tmp_path / "third") == weights(tmp_path / "second") != weights(tmp_path / "first")


def weights(folder: Path) -> bytes:
    return (folder / "model.safetensors").read_bytes()


def test_the_sample_is_the_same_for_every_model(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    for seed in (1, 2):
        train(inputs, tmp_path / str(seed), seed, heldout_at_tokens=[1000], heldout_max_tokens=700)
    a, b = (pq.read_table(tmp_path / seed / "curve.parquet") for seed in "12")
    assert a.drop(["nll_nats"]).equals(b.drop(["nll_nats"]))
    assert not a["nll_nats"].equals(b["nll_nats"])
    assert 0 < loss_curve(a)[0].num_tokens <= 700


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"heldout_points": -1}, r"model\.heldout_points"),
        ({"heldout_points": 2, "heldout_max_tokens": 0}, r"model\.heldout_max_tokens"),
        ({"heldout_points": 2, "network": functools.partial(NETWORK, max_position_embeddings=32)}, "context is 32"),
    ],
)
def test_a_curve_that_cannot_be_measured_is_refused_before_the_training(
    inputs: tuple[Path, Path], tmp_path: Path, changed: dict[str, Any], message: str
) -> None:
    with pytest.raises(StageError, match=message):
        train(inputs, tmp_path / "lm", **changed)
    assert not list((tmp_path / "lm").iterdir())


def test_a_corpus_without_held_out_text_needs_a_training_without_a_curve(
    inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    shutil.copytree(inputs[0] / "tokenizer", tmp_path / "corpus/tokenizer")
    without = (tmp_path / "corpus", inputs[1])
    with pytest.raises(StageError, match=r"model\.heldout_points=0"):
        train(without, tmp_path / "a", heldout_points=3)
    counts = train(without, tmp_path / "b", heldout_points=0)
    assert "heldout_nats_per_token" not in counts
    assert not (tmp_path / "b/curve.parquet").exists()


def test_ids_with_gaps_have_their_embeddings(tmp_path: Path) -> None:
    corpus = corpus_with_gaps(tmp_path / "far", highest=299)
    rule = functools.partial(rules.select, num_tokens=200, temperature=math.inf)
    chosen(corpus, tmp_path / "subset", None, rule=rule, criterion=None)
    ordered(corpus, tmp_path / "order", tmp_path / "subset", None, "shuffle")
    train((corpus, tmp_path / "order"), tmp_path / "lm", batch_size_sequences=4)
    assert AutoModelForCausalLM.from_pretrained(tmp_path / "lm").get_input_embeddings().num_embeddings == 300
    run((corpus, tmp_path / "lm"), tmp_path / "evaluation")
