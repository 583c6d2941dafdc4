"""The rating engine against one window at a time, its shards and shares, and what it refuses."""

import functools
import json
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from repository import ROOT
from scorer_fixtures import corpus_of_paragraphs
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from qurating.corpus.token_reader import TokenReader
from qurating.corpus.tokenizing import train_bpe
from qurating.corpus.windows import windows
from qurating.models import rating_networks
from qurating.models.rating_networks import LastTokenRater, LlamaRater, MaskedRater, rating_network
from qurating.pipeline.sharing import share_of
from qurating.rating import engine as rating_engine
from qurating.rating import shards as rating_shards
from qurating.rating.engine import Engine, batches
from qurating.runtime.errors import StageError
from qurating.runtime.shares import Share
from qurating.stages.judging.rate import rate

CRITERIA = ["clarity", "depth", "humour"]
SMALL: dict[str, Any] = {"hidden_size": 32, "num_hidden_layers": 3, "num_attention_heads": 4, "vocab_size": 1500}
LLAMA = SMALL | {"intermediate_size": 48, "num_key_value_heads": 2, "max_position_embeddings": 64}
NETWORKS = {
    "llama": (LLAMA, LlamaRater),
    "mistral": (LLAMA | {"sliding_window": 4096}, LlamaRater),
    "qwen2": (LLAMA, LlamaRater),
    "mistral, short-sighted": (LLAMA | {"sliding_window": 8}, LastTokenRater),
    "gpt2": ({"n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": 1500}, LastTokenRater),
    "bert": (SMALL | {"intermediate_size": 48}, MaskedRater),
}
XLNET = {"d_model": 32, "n_layer": 2, "n_head": 4, "d_inner": 48, "vocab_size": 1500}  # reads what is on the far right


def classifier(name: str = "llama", num_labels: int = 3) -> Any:
    torch.manual_seed(1)
    settings = NETWORKS[name][0] | {"num_labels": num_labels, "pad_token_id": 0}
    model = AutoModelForSequenceClassification.from_config(AutoConfig.for_model(name.split(",")[0], **settings)).eval()
    with torch.no_grad():
        for parameter in model.parameters():  # of a size at which a mistake shows
            parameter.mul_(4) if parameter.ndim > 1 else parameter.add_(0.1 * torch.randn_like(parameter))
    return model


def save(model: Any, corpus: Path, folder: Path, criteria: list[str] | None = CRITERIA) -> Path:
    model.save_pretrained(folder)
    AutoTokenizer.from_pretrained(corpus / "tokenizer").save_pretrained(folder)
    if criteria is not None:
        (folder / "criteria.json").write_text(json.dumps(criteria), encoding="utf-8")
    return folder


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus_of_paragraphs(tmp_path_factory.mktemp("corpus"), num_paragraphs=80)


@pytest.fixture(scope="module")
def rater(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(classifier(), corpus, tmp_path_factory.mktemp("rater"))


def rated(output: Path, corpus: Path, rater: Path | None, **changes: Any) -> dict[str, Any] | None:
    output.mkdir(exist_ok=True)
    settings: dict[str, Any] = {
        "from_pretrained": None,
        "criteria": CRITERIA,
        "max_tokens": 20,
        "tokens_per_batch": 200,
        "precision": "32-true",
        "compilation": "auto",
        "num_workers": 1,
        "shard": None,
        "num_shards": None,
        "accelerator": "cpu",
    }
    return rate(output=output, corpus=corpus, rater=rater, **(settings | changes))


def shards(folder: Path) -> list[Path]:
    return sorted((folder / "train").glob("*.parquet"))


def averages(folder: Path) -> np.ndarray:
    tables = [pq.read_table(file) for file in shards(folder)]
    return np.concatenate([np.stack([t[f"{name}_average"].to_numpy() for name in CRITERIA], 1) for t in tables])


@given(st.lists(st.integers(1, 100), max_size=60), st.integers(1, 900))
def test_every_window_goes_into_one_batch_of_at_most_the_budget(lengths: list[int], tokens_per_batch: int) -> None:
    given_lengths = np.array(lengths, np.int64)
    made = batches(given_lengths, 100, tokens_per_batch)
    assert sorted(i for batch in made for i in batch.windows) == list(range(len(lengths)))
    for batch in made:
        longest = given_lengths[batch.windows].max()
        assert longest <= batch.width <= min(100, longest + 31)
        assert len(batch.windows) == 1 or len(batch.windows) * batch.width <= tokens_per_batch
    full = {(len(batch.windows), batch.width) for batch in made[:-2]}
    assert len(full) == len({width for _, width in full}), "one shape a width"
    if len(made) > 1 and len(made[-1].windows) == 1:  # one window alone is compiled anew
        assert tokens_per_batch // made[-2].width <= 2


@pytest.mark.parametrize("tokens_per_batch", [1, 150, 10_000])
@pytest.mark.parametrize("name", NETWORKS)
def test_a_batch_rates_as_one_window_at_a_time(name: str, tokens_per_batch: int) -> None:
    model = classifier(name)
    network = rating_network(model, 40)
    assert type(network) is NETWORKS[name][1]
    rng = np.random.default_rng()
    lengths = rng.integers(1, 41, 30)
    ids = rng.integers(1, 1500, lengths.sum()).astype(np.int32)
    engine = Engine(
        network,
        device=torch.device("cpu"),
        precision="32-true",
        compilation="never",
        max_tokens=40,
        tokens_per_batch=tokens_per_batch,
        pad_token_id=7,
    )
    done: list[int] = []
    found = engine.rate(ids, lengths, done.append)
    assert sum(done) == lengths.sum()
    with torch.inference_mode():
        alone = [
            model(torch.from_numpy(part.astype(np.int64))[None]).logits for part in np.split(ids, lengths.cumsum())[:-1]
        ]
    expected = torch.cat(alone).numpy()
    assert expected.std() > 0.05
    np.testing.assert_allclose(found, expected, atol=1e-5, rtol=1e-5)


def test_a_wrong_short_cut_is_not_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rating_networks, "_rotated", lambda x, cos, sin: x)
    assert type(rating_network(classifier(), 40)) is LastTokenRater


def test_a_network_that_padding_changes_is_refused() -> None:
    config = AutoConfig.for_model("xlnet", **XLNET, num_labels=3, pad_token_id=0)
    torch.manual_seed(1)
    with pytest.raises(StageError, match="xlnet reads a text otherwise when padding follows"):
        rating_network(AutoModelForSequenceClassification.from_config(config), 40)


def test_bfloat16_is_near(corpus: Path, rater: Path, tmp_path: Path) -> None:
    rated(tmp_path / "a", corpus, rater)
    rated(tmp_path / "b", corpus, rater, precision="bf16-mixed")
    exact, near = averages(tmp_path / "a"), averages(tmp_path / "b")
    assert 0 < np.abs(exact - near).max() < 0.15 * exact.std()
    with pytest.raises(StageError, match="not '16-true'"):
        rated(tmp_path / "c", corpus, rater, precision="16-true")


def test_every_layer_and_width_shares_one_compilation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(torch, "compile", functools.partial(torch.compile, backend="eager"))
    rng = np.random.default_rng()
    lengths = np.concatenate([rng.integers(1, 33, 12 * int(rng.integers(3)) + 1), rng.integers(33, 65, 24)])
    ids = rng.integers(1, 1500, lengths.sum()).astype(np.int32)
    found = []
    for compilation in ("never", "always"):
        engine = Engine(
            rating_network(classifier(), 64),
            device=torch.device("cpu"),
            precision="32-true",
            compilation=compilation,
            max_tokens=64,
            tokens_per_batch=400,
            pad_token_id=7,
        )
        with torch._dynamo.config.patch(error_on_recompile=True):
            found.append(engine.rate(ids, lengths, lambda _: None))
    np.testing.assert_allclose(found[0], found[1], atol=1e-6)


def test_without_a_compiler_it_goes_on(
    corpus: Path, rater: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rated(tmp_path / "a", corpus, rater)

    def no_compiler(*_: Any, **__: Any) -> Any:
        def run(*_: Any, **__: Any) -> Any:
            raise RuntimeError("no C++ compiler here")

        return run

    monkeypatch.setattr(torch, "compile", no_compiler)
    monkeypatch.setattr(rating_engine, "_MEASURE_SECONDS", 0.0)
    monkeypatch.setattr(rating_engine, "_COMPILE_REPAYS_SECONDS", {"cpu": 0.0})
    rated(tmp_path / "b", corpus, rater)
    assert "not compiled, and slower for it: RuntimeError: no C++ compiler here" in capsys.readouterr().out
    np.testing.assert_array_equal(averages(tmp_path / "a"), averages(tmp_path / "b"))
    with pytest.raises(StageError, match="set compilation=never"):
        rated(tmp_path / "c", corpus, rater, compilation="always")


def test_odd_sequences_are_rated_like_any_other(corpus: Path, rater: Path, tmp_path: Path) -> None:
    own = AutoTokenizer.from_pretrained(rater)
    texts = ["", "   \n  ", "a", "<|endoftext|>", "Two words. " * 30]
    ids = [own(text, add_special_tokens=False, split_special_tokens=True)["input_ids"] for text in texts]
    eos = own.eos_token_id
    ids = [[], *ids[1:3], [eos], [*ids[4], eos]]
    table = {
        "id": range(5),
        "text": texts,
        "input_ids": pa.array(ids, pa.list_(pa.int32())),
        "length": [*map(len, ids)],
    }
    odd = tmp_path / "odd"
    shutil.copytree(corpus / "tokenizer", odd / "tokenizer")
    (odd / "train").mkdir()
    pq.write_table(pa.table(table), odd / "train/00000.parquet")
    pq.write_table(pa.table(table).slice(0, 0), odd / "train/00001.parquet")  # a shard without a row
    assert rated(tmp_path / "r", odd, rater) == {"sequences": 5, "tokens": sum(map(len, ids)), "criteria": CRITERIA}
    model = AutoModelForSequenceClassification.from_pretrained(rater)
    read = [[eos], ids[1], ids[2], [eos], ids[4][:-1]]
    for row, sequence in zip(pq.read_table(tmp_path / "r/train/00000.parquet").to_pylist(), read, strict=True):
        parts = windows(sequence, 20)
        assert row["chunk_lengths"] == [len(part) for part in parts]
        with torch.inference_mode():
            expected = [model(torch.tensor([part])).logits[0, 1].item() for part in parts]
        assert row["depth_chunks"] == pytest.approx(expected, abs=1e-5)


@pytest.fixture(scope="module")
def foreign(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    """Another tokenizer than the corpus'."""
    folder = tmp_path_factory.mktemp("foreign")
    train_bpe(pq.read_table(shards(corpus)[0])["text"].to_pylist(), 300, folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_texts_are_tokenised_in_order_by_any_number_of_workers(
    corpus: Path, foreign: PreTrainedTokenizerBase, num_workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qurating.corpus.token_reader._TEXTS_AT_ONCE", 7)
    reader = TokenReader(corpus, foreign)
    assert not reader.is_own
    tables = [pq.read_table(file) for file in shards(corpus)]
    place = tables[1].schema.get_field_index("text")
    tables[1] = tables[1].set_column(place, "text", pa.array(["", *tables[1]["text"].to_pylist()[1:]]))
    for table, tokens in zip(tables, reader.read(iter(tables), num_workers), strict=True):
        expected = [foreign(text, add_special_tokens=False)["input_ids"] for text in table["text"].to_pylist()]
        expected = [ids or [foreign.eos_token_id] for ids in expected]
        assert tokens.lengths.tolist() == [len(ids) for ids in expected]
        assert tokens.input_ids.tolist() == [token for ids in expected for token in ids]


def test_the_same_vocabulary_by_other_rules_is_another_tokenizer(corpus: Path) -> None:
    from tokenizers import pre_tokenizers

    own = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    assert TokenReader(corpus, own).is_own
    other = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    other.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    assert not TokenReader(corpus, other).is_own


def test_shares_make_the_whole(corpus: Path, rater: Path, tmp_path: Path) -> None:
    counts = rated(tmp_path / "whole", corpus, rater)
    assert rated(tmp_path / "shared", corpus, rater, shard=2, num_shards=3) is None
    assert [file.name for file in shards(tmp_path / "shared")] == ["00002.parquet"]
    assert rated(tmp_path / "shared", corpus, rater, shard=0, num_shards=3) is None
    assert rated(tmp_path / "shared", corpus, rater, shard=1, num_shards=3) == counts
    for one, other in zip(shards(tmp_path / "whole"), shards(tmp_path / "shared"), strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_which_share_is_whose(tmp_path: Path) -> None:
    sweep = tmp_path / "multirun.yaml"
    sweep.write_text("hydra: {overrides: {task: ['stage=[rate]', 'stages.rate.shard=range(64)']}}", encoding="utf-8")
    settings = {"shard": 3, "num_shards": None}
    assert share_of("rate", settings, tmp_path, 0, 1) == Share(3, 64)
    assert share_of("rate", settings, tmp_path, 1, 8) == Share(25, 512)
    assert share_of("rate", {"shard": None, "num_shards": None}, tmp_path, 1, 8) == Share(1, 8)
    assert share_of("rate", {"shard": None, "num_shards": None}, tmp_path, 0, 1) is None
    assert share_of("select", {}, tmp_path, 1, 8) is None
    for shard, count, folder, message in (
        (3, None, tmp_path / "no", "of how many"),
        (64, None, tmp_path, "shards count from 0"),
        (None, 4, tmp_path, "needs a shard"),
    ):
        with pytest.raises(StageError, match=message):
            share_of("rate", {"shard": shard, "num_shards": count}, folder, 0, 1)
    dealt = [item for index in range(3) for item in Share(index, 3).of(range(10))]
    assert sorted(dealt) == list(range(10))


def test_what_is_stale_is_rated_anew(
    corpus: Path, rater: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = shutil.copytree(corpus, tmp_path / "corpus")
    rated(tmp_path / "r", copy, rater)
    before = averages(tmp_path / "r")
    rating_shards.check_fresh(copy, tmp_path / "r")
    rated(tmp_path / "r", copy, rater)
    assert "rated anew" not in capsys.readouterr().out
    # the same rows in another order
    time.sleep(0.02)
    table = pq.read_table(shards(copy)[1])
    pq.write_table(table.take(list(range(len(table)))[::-1]), shards(copy)[1])
    with pytest.raises(StageError, match=r"00001.parquet is stale: .*was changed after it was rated"):
        rating_shards.check_fresh(copy, tmp_path / "r")
    rated(tmp_path / "r", copy, rater)
    assert capsys.readouterr().out.count("rated anew") == 1
    rating_shards.check_fresh(copy, tmp_path / "r")
    first = len(pq.read_table(shards(copy)[0]))
    now = averages(tmp_path / "r")
    np.testing.assert_allclose(now[first : first + len(table)], before[first : first + len(table)][::-1], atol=1e-5)
    # written again, with the same content: that is no change
    shards(copy)[2].write_bytes(shards(copy)[2].read_bytes())
    rating_shards.check_fresh(copy, tmp_path / "r")
    # another network
    other = save(classifier(), copy, tmp_path / "other")
    model = AutoModelForSequenceClassification.from_pretrained(other)
    with torch.no_grad():
        model.score.weight.add_(1)
    model.save_pretrained(other)
    rated(tmp_path / "r", copy, other)
    assert capsys.readouterr().out.count("made by another network") == 4
    assert np.abs(averages(tmp_path / "r") - now).min() > 1e-3
    shutil.copy(shards(tmp_path / "r")[0], tmp_path / "r/train/00009.parquet")
    with pytest.raises(StageError, match=r"00009.parquet belongs to no shard"):
        rated(tmp_path / "r", copy, other)
    (tmp_path / "r/train/00000.parquet").unlink()
    with pytest.raises(StageError, match=r"00000.parquet is missing \(and 1 more\)"):
        rating_shards.check_fresh(copy, tmp_path / "r")


def test_raters_that_cannot_be_used_are_refused(corpus: Path, rater: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"there is no rater: add the stage train_rater"):
        rated(tmp_path / "r", corpus, None)
    with pytest.raises(StageError, match="two raters are named"):
        rated(tmp_path / "r", corpus, rater, from_pretrained="x")
    four = save(classifier(num_labels=4), corpus, tmp_path / "four", criteria=None)
    with pytest.raises(StageError, match=r"has 4 outputs, and the configuration has 3 criteria \(clarity, depth"):
        rated(tmp_path / "r", corpus, None, from_pretrained=str(four))
    save(classifier(), corpus, tmp_path / "wrong", criteria=["only"])
    with pytest.raises(StageError, match=r"has 3 outputs, and criteria.json there names 1 criteria \(only\)"):
        rated(tmp_path / "r", corpus, tmp_path / "wrong")
    with pytest.raises(StageError, match=r"windows of 65 tokens: .* reads 1 to 64"):
        rated(tmp_path / "r", corpus, rater, max_tokens=65)
    with pytest.raises(StageError, match="cannot be loaded as a rater"):
        rated(tmp_path / "r", corpus, None, from_pretrained=str(corpus))
    language_model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **LLAMA, num_labels=3))
    with pytest.raises(StageError, match=r"is no rater: there is no score.weight among its weights"):
        rated(tmp_path / "r", corpus, save(language_model, corpus, tmp_path / "lm"))
    model = classifier()
    with torch.no_grad():
        model.score.weight[1] = torch.nan
    with pytest.raises(StageError, match=r"ratings of (\d+) of \1 sequences are not numbers .*id 1000, 1001, .*broken"):
        rated(tmp_path / "r", corpus, save(model, corpus, tmp_path / "nan"))
    assert not shards(tmp_path / "r")


def test_a_released_rater_takes_its_criteria_from_the_configuration(corpus: Path, rater: Path, tmp_path: Path) -> None:
    released = save(classifier(), corpus, tmp_path / "released", criteria=None)
    names = ["writing_style", "required_expertise", "facts_and_trivia"]
    counts = rated(tmp_path / "r", corpus, None, from_pretrained=str(released), criteria=names)
    assert counts is not None
    assert counts["criteria"] == names
    rated(tmp_path / "own", corpus, rater)
    own, found = pq.read_table(shards(tmp_path / "own")[0]), pq.read_table(shards(tmp_path / "r")[0])
    for name, other in zip(CRITERIA, names, strict=True):  # in the order of the heads
        assert own[f"{name}_chunks"].equals(found[f"{other}_chunks"])


def test_two_tasks_of_the_command_line_share_a_corpus(tmp_path: Path) -> None:
    """Two processes at the same time, a rater that is named, nothing judged or trained."""
    small = [
        *("scale=smoke", "corpus.reader.max_characters_per_domain=30_000", "num_workers=1", "hydra.mode=RUN"),
        *("corpus.documents_per_shard=40", f"paths.artifacts={tmp_path}/a", f"hydra.run.dir={tmp_path}/out"),
    ]

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(ROOT / "run.py"), *small, *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)

    first = start("stage=[prepare_corpus]")
    printed, _ = first.communicate(timeout=200)
    assert first.returncode == 0, printed
    (corpus,) = (tmp_path / "a/corpora").glob("[!.]*")
    assert len(shards(corpus)) > 2
    rater = save(classifier_of_size(corpus), corpus, tmp_path / "judge-7", criteria=None)
    named = ["stage=[judge,train_rater,rate]", f"rater.from_pretrained={rater}", "rater.max_tokens=64"]
    tasks = [start(*named, "stages.rate.num_shards=2", f"stages.rate.shard={shard}") for shard in (0, 1)]
    outputs = [task.communicate(timeout=300)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], outputs
    assert all("not needed: judge, train_rater" in output for output in outputs)
    assert sum("    done in" in output for output in outputs) == 1, outputs
    (ratings,) = (tmp_path / "a/ratings").glob("[!.]*")
    assert ratings.name.startswith("by-judge-7")
    assert not list((tmp_path / "a/ratings").glob(".*.partial"))
    rating_shards.check_fresh(corpus, ratings)
    made = json.loads((ratings / "manifest.json").read_text(encoding="utf-8"))
    assert made["counts"]["criteria"][0] == "writing_style"
    assert made["labels"] == []  # of no simulated judge
    assert made["counts"]["sequences"] == sum(pq.read_metadata(file).num_rows for file in shards(corpus))


def classifier_of_size(corpus: Path) -> Any:
    """A rater with four outputs for the corpus' tokenizer."""
    settings = LLAMA | {"vocab_size": len(AutoTokenizer.from_pretrained(corpus / "tokenizer"))}
    return AutoModelForSequenceClassification.from_config(AutoConfig.for_model("llama", **settings, num_labels=4))
