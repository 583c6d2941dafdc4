"""The rating of a corpus: unusual sequences, shares, and errors."""

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from rating_example import CRITERIA, LLAMA, averages, classifier, rated, save, shards
from repository import ROOT
from scorer_fixtures import corpus_of_paragraphs
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer

from qurating.corpus.windows import windows
from qurating.rating import shards as rating_shards
from qurating.runtime.errors import StageError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus_of_paragraphs(tmp_path_factory.mktemp("corpus"), num_paragraphs=80)


@pytest.fixture(scope="module")
def rater(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save(classifier(), corpus, tmp_path_factory.mktemp("rater"))


def test_bfloat16_is_near(corpus: Path, rater: Path, tmp_path: Path) -> None:
    rated(tmp_path / "a", corpus, rater)
    rated(tmp_path / "b", corpus, rater, precision="bf16-mixed")
    exact, near = averages(tmp_path / "a"), averages(tmp_path / "b")
    assert 0 < np.abs(exact - near).max() < 0.15 * exact.std()
    with pytest.raises(StageError, match="unknown precision '16-true' for ratings"):
        rated(tmp_path / "c", corpus, rater, precision="16-true")


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


def test_shares_make_the_whole(corpus: Path, rater: Path, tmp_path: Path) -> None:
    counts = rated(tmp_path / "whole", corpus, rater)
    assert rated(tmp_path / "shared", corpus, rater, shard=2, num_shards=3) is None
    assert [file.name for file in shards(tmp_path / "shared")] == ["00002.parquet"]
    assert rated(tmp_path / "shared", corpus, rater, shard=0, num_shards=3) is None
    assert rated(tmp_path / "shared", corpus, rater, shard=1, num_shards=3) == counts
    for one, other in zip(shards(tmp_path / "whole"), shards(tmp_path / "shared"), strict=True):
        assert one.read_bytes() == other.read_bytes()


def test_raters_that_cannot_be_used_are_refused(corpus: Path, rater: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"no rater is given: add the stage train_rater"):
        rated(tmp_path / "r", corpus, None)
    with pytest.raises(StageError, match="two raters are given"):
        rated(tmp_path / "r", corpus, rater, from_pretrained="x")
    four = save(classifier(num_labels=4), corpus, tmp_path / "four", criteria=None)
    with pytest.raises(StageError, match=r"has 4 outputs, and the configuration has 3 criteria \(clarity, depth"):
        rated(tmp_path / "r", corpus, None, from_pretrained=str(four))
    save(classifier(), corpus, tmp_path / "wrong", criteria=["only"])
    with pytest.raises(StageError, match=r"has 3 outputs, and its criteria.json names 1 criteria \(only\)"):
        rated(tmp_path / "r", corpus, tmp_path / "wrong")
    with pytest.raises(StageError, match=r"windows of 65 tokens: .* reads 1 to 64"):
        rated(tmp_path / "r", corpus, rater, max_tokens=65)
    with pytest.raises(StageError, match="cannot be loaded as a rater"):
        rated(tmp_path / "r", corpus, None, from_pretrained=str(corpus))
    language_model = AutoModelForCausalLM.from_config(AutoConfig.for_model("llama", **LLAMA, num_labels=3))
    with pytest.raises(StageError, match=r"is not a rater: its weights lack score.weight"):
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
    """Two concurrent processes with an existing rater: nothing is judged or trained."""
    small = [
        *("scale=smoke", "corpus.reader.max_characters_per_domain=30_000", "num_workers=1", "hydra.mode=RUN"),
        *("corpus.documents_per_shard=40", f"paths.artifacts={tmp_path}/a", f"hydra.run.dir={tmp_path}/out"),
    ]

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(ROOT / "run.py"), *small, *arguments]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=ROOT)

    first = start("stage=[prepare_corpus]")
    printed, _ = first.communicate(timeout=1200)
    assert first.returncode == 0, printed
    (corpus,) = (tmp_path / "a/corpora").glob("[!.]*")
    assert len(shards(corpus)) > 2
    rater = save(classifier_of_size(corpus), corpus, tmp_path / "judge-7", criteria=None)
    named = ["stage=[judge,train_rater,rate]", f"rater.from_pretrained={rater}", "rater.max_tokens=64"]
    tasks = [start(*named, "stages.rate.num_shards=2", f"stages.rate.shard={shard}") for shard in (0, 1)]
    outputs = [task.communicate(timeout=1200)[0] for task in tasks]
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
