"""The baselines' ratings: hashed n-grams and perplexity, against slow references; shards, workers, bad input."""

import hashlib
import importlib.util
import itertools
import math
import random
import re
import shutil
import string
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scorer_fixtures import corpus_of_paragraphs
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    LlamaConfig,
    LlamaForCausalLM,
    XLMConfig,
    XLMWithLMHeadModel,
)

from qurating.corpus.hashing import WordHashes
from qurating.corpus.windows import windows
from qurating.models import likelihood
from qurating.rating import kenlm
from qurating.rating.importance import Buckets, counted, log_ratio, log_weights
from qurating.runtime.errors import StageError
from qurating.stages.selection.measure_perplexity import measure_perplexity
from qurating.stages.selection.weigh_importance import weigh_importance

MASK = 2**64 - 1


def mixed(value: int) -> int:
    """The finaliser of splitmix64, spelt out."""
    value = (value + 0x9E3779B97F4A7C15) & MASK
    value = ((value ^ (value >> 30)) * 0xBF58476D1CE4E5B9) & MASK
    value = ((value ^ (value >> 27)) * 0x94D049BB133111EB) & MASK
    return value ^ (value >> 31)


def slow_buckets(text: str, num_buckets: int) -> list[int]:
    words = re.findall(r"\w+|[^\w\s]+", text.lower())
    hashes = [int.from_bytes(hashlib.blake2b(word.encode(), digest_size=8).digest()) for word in words]
    pairs = [mixed((a + 1) & MASK) ^ b for a, b in itertools.pairwise(hashes)]
    return sorted(mixed(ngram) % num_buckets for ngram in hashes + pairs)


TEXTS = st.lists(st.text(st.sampled_from("aB é,. \n1"), max_size=30), max_size=8)


@given(TEXTS, st.integers(2, 50))
def test_buckets_are_those_of_words_and_pairs_one_by_one(texts: list[str], num_buckets: int) -> None:
    found, sizes = Buckets(num_buckets).of(texts)
    parts = np.split(found, np.cumsum(sizes)[:-1]) if texts else []
    assert [sorted(part.tolist()) for part in parts] == [slow_buckets(text, num_buckets) for text in texts]


def test_weights_are_the_ratio_of_two_bags() -> None:
    rng = random.Random()
    texts = [" ".join(rng.choices(string.ascii_letters, k=rng.randint(0, 40))) for _ in range(50)]
    target = [*texts[::7], "q q q q"]
    counts = [[0] * 97, [0] * 97]
    for bag, some in zip(counts, (target, texts), strict=True):
        for text in some:
            for bucket in slow_buckets(text, 97):
                bag[bucket] += 1
    p, q = ([(n + 0.5) / (sum(bag) + 97 * 0.5) for n in bag] for bag in counts)
    slow = [sum(math.log(p[b] / q[b]) for b in slow_buckets(text, 97)) for text in texts]
    ratio = log_ratio(counted(target, 97), counted(texts, 97), 0.5)
    np.testing.assert_allclose(log_weights(texts, ratio), slow, atol=1e-10)
    means = [s / max(1, len(slow_buckets(text, 97))) for s, text in zip(slow, texts, strict=True)]
    np.testing.assert_allclose(log_weights(texts, ratio, per_ngram=True), means, atol=1e-10)


def test_a_full_memory_of_words_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = ["one two three", "four five six seven", "one seven"]
    expected = [Buckets(1000).of([text])[0].tolist() for text in texts]
    monkeypatch.setattr(WordHashes, "_MAX_KNOWN", 4)
    small = Buckets(1000)
    assert [small.of([text])[0].tolist() for text in texts] == expected
    assert len(small._words._known) <= 4


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus_of_paragraphs(tmp_path_factory.mktemp("corpus"), num_paragraphs=60)


@pytest.fixture(scope="module")
def target(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("target")
    pq.write_table(pa.table({"text": ["f(x) = [y for y in x]", "g(*a, **b)"]}), folder / "target.parquet")
    return folder


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


def weighed(output: Path, corpus: Path, target: Path | None, **changes: Any) -> Any:
    output.mkdir(exist_ok=True)
    settings: dict[str, Any] = {"num_buckets": 500, "smoothing": 1.0, "per_ngram": False, "num_workers": 1}
    settings |= {"shard": None, "num_shards": None}
    return weigh_importance(output=output, corpus=corpus, target=target, **(settings | changes))


def measured(output: Path, corpus: Path, language_model: Path | None, **changes: Any) -> Any:
    output.mkdir(exist_ok=True)
    settings: dict[str, Any] = {
        "from_pretrained": None,
        "kenlm": None,
        "files": None,
        "lower_case": False,
        "max_tokens": 20,
        "tokens_per_batch": 100,
        "precision": "32-true",
        "compilation": "never",
        "num_workers": 1,
        "shard": None,
        "num_shards": None,
        "accelerator": "cpu",
    }
    return measure_perplexity(output=output, corpus=corpus, language_model=language_model, **(settings | changes))


def content(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_importance_is_weighed_beside_each_shard(corpus: Path, target: Path, tmp_path: Path) -> None:
    counts = weighed(tmp_path / "out", corpus, target)
    files = sorted((corpus / "train").glob("*.parquet"))
    tables = [pq.read_table(file) for file in files]
    texts = [text for table in tables for text in table["text"].to_pylist()]
    examples = pq.read_table(target / "target.parquet")["text"].to_pylist()
    expected = log_weights(texts, log_ratio(counted(examples, 500), counted(texts, 500)))
    found = [pq.read_table(tmp_path / "out/train" / file.name) for file in files]
    np.testing.assert_array_equal(np.concatenate([t["dsir_average"].to_numpy() for t in found]), expected)
    for table, rated in zip(tables, found, strict=True):
        assert rated["id"].equals(table["id"])
        assert rated["chunk_lengths"].to_pylist() == [[length] for length in table["length"].to_pylist()]
    assert counts == {
        "sequences": 60,
        "tokens": sum(sum(t["length"].to_pylist()) for t in tables),
        "criteria": ["dsir"],
    }
    is_code = np.array([domain == "code" for table in tables for domain in table["domain"].to_pylist()])
    assert expected[is_code].mean() > expected[~is_code].mean()


def test_tasks_and_workers_and_a_restart_change_nothing(
    corpus: Path, target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weighed(tmp_path / "a", corpus, target)
    assert weighed(tmp_path / "b", corpus, target, shard=1, num_shards=3) is None
    assert weighed(tmp_path / "b", corpus, target, shard=0, num_shards=3) is None
    kept = {file.name: file.stat().st_mtime_ns for file in (tmp_path / "b/train").iterdir()}
    monkeypatch.setattr("qurating.rating.by_text._TEXTS_AT_ONCE", 4)
    # as after a kill: what is there stays
    assert weighed(tmp_path / "b", corpus, target, num_workers=2)["sequences"] == 60
    assert content(tmp_path / "a") == content(tmp_path / "b")
    assert kept.items() <= {file.name: file.stat().st_mtime_ns for file in (tmp_path / "b/train").iterdir()}.items()


def test_what_cannot_be_weighed_is_refused(corpus: Path, target: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no target set"):
        weighed(tmp_path / "a", corpus, None)
    with pytest.raises(StageError, match="num_buckets must be at least 2"):
        weighed(tmp_path / "b", corpus, target, num_buckets=1)
    pq.write_table(pa.table({"text": [" ", ""]}), tmp_path / "target.parquet")
    with pytest.raises(StageError, match="no word in the target"):
        weighed(tmp_path / "c", corpus, tmp_path)


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
    with pytest.raises(StageError, match="there is no language model"):
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
        with pytest.raises(StageError, match="no causal model"):
            measured(tmp_path / "out", corpus, tmp_path / "lm")


ARPA = """\\data\\
ngram 1=5
ngram 2=2

\\1-grams:
-1.0\t<unk>
-99\t<s>\t-0.5
-0.7\t</s>
-0.4\ta\t-0.3
-0.9\tb\t-0.2

\\2-grams:
-0.25\t<s> a
-0.125\ta b

\\end\\
"""


@pytest.mark.skipif(importlib.util.find_spec("kenlm") is None, reason="needs the package kenlm (built in 100 s)")
def test_an_ngram_model_gives_the_numbers_of_its_table(tmp_path: Path, corpus: Path) -> None:
    file = tmp_path / "x.arpa"
    file.write_text(ARPA)
    found = kenlm.log_perplexities(["A b", "", "z"], file, lower_case=True)
    bits = [-0.25 - 0.125 - 0.2 - 0.7, -0.5 - 0.7, -0.5 - 1.0 - 0.7]
    expected = [-bits[0] / 3, -bits[1], -bits[2] / 2]
    np.testing.assert_allclose(found, np.array(expected) * math.log(10), rtol=1e-6)
    measured(tmp_path / "out", corpus, None, kenlm=str(file), lower_case=True)
    first = sorted((corpus / "train").glob("*.parquet"))[0]
    texts = pq.read_table(first)["text"].to_pylist()
    rated = pq.read_table(tmp_path / "out/train" / first.name)["log_perplexity_average"].to_numpy()
    np.testing.assert_array_equal(rated, kenlm.log_perplexities(texts, file, lower_case=True))
    (tmp_path / "y.arpa").write_text("no model")
    with pytest.raises(StageError, match=r"y\.arpa is no model that KenLM reads"):
        measured(tmp_path / "bad", corpus, None, kenlm=str(tmp_path / "y.arpa"))
    with pytest.raises(StageError, match="there is no n-gram model"):
        measured(tmp_path / "bad", corpus, None, kenlm=str(tmp_path / "absent.arpa"))


def test_without_kenlm_it_says_how_to_get_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "kenlm", None)
    with pytest.raises(StageError, match=r"pip install -e '\.\[kenlm\]'"):
        kenlm.load(tmp_path / "x.arpa")
