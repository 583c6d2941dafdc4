"""Ratings by perplexity against a slow reference, and the models that are refused."""

import math
import shutil
from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from baselines_example import measured
from scorer_fixtures import corpus_of_paragraphs
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    XLMConfig,
    XLMWithLMHeadModel,
)

from qurating.corpus.windows import windows
from qurating.models import likelihood
from qurating.runtime.errors import StageError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus_of_paragraphs(tmp_path_factory.mktemp("corpus"), num_paragraphs=60)


@pytest.fixture(scope="module")
def model(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("lm")
    tokenizer = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=32, initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@pytest.mark.parametrize("chunk", [1, 2**25])
def test_perplexity_is_that_of_each_window_after_an_end_of_text(
    corpus: Path, model: Path, tmp_path: Path, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(likelihood, "MAX_LOGITS", chunk)
    measured(tmp_path / "out", corpus, model)
    network = AutoModelForCausalLM.from_pretrained(model).double().eval()
    tokenizer = AutoTokenizer.from_pretrained(model)
    for file in sorted((corpus / "train").glob("*.parquet"))[:2]:
        rated = pq.read_table(tmp_path / "out/train" / file.name).to_pylist()
        for row, ids in zip(rated, pq.read_table(file)["input_ids"].to_pylist(), strict=True):
            ids = ids[:-1] if ids[-1] == tokenizer.eos_token_id else ids
            nats, parts = [], windows(ids, 20)
            for part in parts:
                with torch.no_grad():
                    logits = network(input_ids=torch.tensor([[tokenizer.eos_token_id, *part]])).logits[0, :-1]
                nats.append(-torch.log_softmax(logits, -1)[range(len(part)), part].sum().item())
            assert row["chunk_lengths"] == [len(part) for part in parts]
            assert row["log_perplexity_chunks"] == pytest.approx(
                [n / len(part) for n, part in zip(nats, parts, strict=True)], rel=1e-5
            )
            assert row["log_perplexity_average"] == pytest.approx(sum(nats) / len(ids), rel=1e-5)


def test_a_model_that_gives_no_perplexity_is_refused(corpus: Path, model: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no language model is given"):
        measured(tmp_path / "a", corpus, None)
    with pytest.raises(StageError, match="two language models"):
        measured(tmp_path / "b", corpus, model, from_pretrained=str(model))
    with pytest.raises(StageError, match="reads 1 to 32"):
        measured(tmp_path / "c", corpus, model, max_tokens=33)
    empty = tmp_path / "empty"
    empty.mkdir()
    with pytest.raises(StageError, match="cannot be loaded as a language model"):
        measured(tmp_path / "d", corpus, empty)
    broken = tmp_path / "broken"
    shutil.copytree(model, broken)
    network = AutoModelForCausalLM.from_pretrained(model)
    torch.nn.init.constant_(network.model.norm.weight, math.nan)
    network.save_pretrained(broken)
    with pytest.raises(StageError, match=r"gives no perplexity|are not numbers"):
        measured(tmp_path / "e", corpus, broken)


@pytest.mark.parametrize("causal", [False, True])
def test_a_model_that_sees_later_tokens_is_refused(corpus: Path, model: Path, tmp_path: Path, causal: bool) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    config = XLMConfig(
        vocab_size=len(tokenizer), emb_dim=32, n_layers=2, n_heads=4, max_position_embeddings=32, causal=causal,
        embed_init_std=0.3, init_std=0.3,
    )  # fmt: skip
    torch.manual_seed(0)
    XLMWithLMHeadModel(config).save_pretrained(tmp_path / "lm")
    tokenizer.save_pretrained(tmp_path / "lm")
    if causal:
        assert measured(tmp_path / "out", corpus, tmp_path / "lm")["sequences"] == 60
    else:
        with pytest.raises(StageError, match="not a causal model"):
            measured(tmp_path / "out", corpus, tmp_path / "lm")


def test_a_model_with_too_few_embeddings_is_refused_before_the_work(corpus: Path, model: Path, tmp_path: Path) -> None:
    tokenizer = AutoTokenizer.from_pretrained(model)
    network = AutoModelForCausalLM.from_pretrained(model)
    for rows in (len(tokenizer) - 1, len(tokenizer) + 100):
        network.resize_token_embeddings(rows)
        network.save_pretrained(tmp_path / "lm")
        tokenizer.save_pretrained(tmp_path / "lm")
        if rows < len(tokenizer):
            with pytest.raises(StageError, match=rf"lm: the ids of its tokenizer end at .* has {rows:,} embeddings"):
                measured(tmp_path / "few", corpus, tmp_path / "lm")
            assert not list((tmp_path / "few").rglob("*.parquet"))
        else:  # a padded vocabulary
            measured(tmp_path / "many", corpus, tmp_path / "lm")
