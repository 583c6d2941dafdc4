"""Scoring a corpus: against a plain loop, and from where it stopped."""

import functools
import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from scorer_fixtures import annotation_of, corpus_of_paragraphs, network, train
from transformers import AutoModel, AutoTokenizer, PreTrainedTokenizerFast

from qurating.corpus.tokenizing import train_bpe
from qurating.corpus.windows import weighted_mean, windows
from qurating.models import networks
from qurating.runtime.errors import StageError
from qurating.stages.lqs.score import score


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus_of_paragraphs(tmp_path_factory.mktemp("corpus"), num_paragraphs=80)


@pytest.fixture(scope="module")
def scorer(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("scorer")
    annotation = annotation_of(corpus, folder / "annotation")
    train(corpus, annotation, folder / "s", num_epochs=1)
    return folder / "s"


@pytest.fixture(scope="module")
def foreign_scorer(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A bidirectional scorer with a tokenizer of its own."""
    folder = tmp_path_factory.mktemp("foreign")
    train_bpe([pq.read_table(corpus / "train/00000.parquet")["text"][0].as_py()], 300, folder / "bert")
    own = PreTrainedTokenizerFast.from_pretrained(folder / "bert")
    network("bert")(tokenizer=own)[0].save_pretrained(folder / "bert")
    made = functools.partial(networks.pretrained_encoder, str(folder / "bert"))
    train(corpus, annotation_of(corpus, folder / "annotation"), folder / "s", network=made, num_epochs=1)
    return folder / "s"


def scored(output: Path, corpus: Path, scorer: Path | None, **changes: Any) -> dict[str, Any] | None:
    output.mkdir(exist_ok=True)
    settings: dict[str, Any] = {
        "from_pretrained": None,
        "max_tokens": None,
        "tokens_per_batch": 300,
        "precision": "32-true",
        "compilation": "auto",
        "num_workers": 1,
        "shard": None,
        "num_shards": None,
        "jsonl": False,
        "accelerator": "cpu",
    }
    return score(output=output, corpus=corpus, scorer=scorer, **(settings | changes))


def shards(corpus: Path) -> list[Path]:
    return sorted((corpus / "train").glob("*.parquet"))


def plain_loop(scorer: Path, sequences: list[list[int]], max_tokens: int) -> list[tuple[list[int], list[float]]]:
    """Lengths and scores of the windows of each sequence, from the files alone, one window at a time."""
    encoder = AutoModel.from_pretrained(scorer).eval()
    head = load_file(scorer / "head.safetensors")
    found = []
    for ids in sequences:
        parts = windows(ids, max_tokens)
        with torch.inference_mode():
            means = [encoder(input_ids=torch.tensor([p])).last_hidden_state[0].mean(dim=0) for p in parts]
        found.append(([len(p) for p in parts], [float(head["weight"][0] @ m + head["bias"][0]) for m in means]))
    return found


@pytest.mark.parametrize(("tokens_per_batch", "max_tokens"), [(1, 10), (300, None), (100_000, 24)])
def test_scores_match_a_plain_loop(
    corpus: Path, scorer: Path, tmp_path: Path, tokens_per_batch: int, max_tokens: int | None
) -> None:
    counts = scored(tmp_path, corpus, scorer, tokens_per_batch=tokens_per_batch, max_tokens=max_tokens)
    given = [pq.read_table(file) for file in shards(corpus)]
    assert counts == {
        "sequences": sum(map(len, given)),
        "tokens": sum(sum(table["length"].to_pylist()) for table in given),
        "criteria": ["lqs"],
    }
    eos = AutoTokenizer.from_pretrained(corpus / "tokenizer").eos_token_id
    for file, table in zip(shards(corpus), given, strict=True):
        found = pq.read_table(tmp_path / "train" / file.name)
        assert found.column_names == ["id", "length", "chunk_lengths", "lqs_chunks", "lqs_average"]
        assert found["id"].to_pylist() == table["id"].to_pylist()
        assert found["length"].to_pylist() == table["length"].to_pylist()
        sequences = [ids[:-1] if ids[-1] == eos else ids for ids in table["input_ids"].to_pylist()]
        for row, (lengths, scores) in zip(
            found.to_pylist(), plain_loop(scorer, sequences, max_tokens or 24), strict=True
        ):
            assert row["chunk_lengths"] == lengths
            assert row["lqs_chunks"] == pytest.approx(scores, abs=1e-5)
            assert row["lqs_average"] == pytest.approx(weighted_mean(scores, lengths), abs=1e-5)


def test_a_scorer_reads_texts_in_its_own_tokens(corpus: Path, foreign_scorer: Path, tmp_path: Path) -> None:
    scored(tmp_path, corpus, None, from_pretrained=str(foreign_scorer))
    tokenizer = AutoTokenizer.from_pretrained(foreign_scorer)
    table = pq.read_table(shards(corpus)[1])
    found = pq.read_table(tmp_path / "train" / shards(corpus)[1].name)
    sequences = [tokenizer(text, add_special_tokens=False)["input_ids"] for text in table["text"].to_pylist()]
    assert found["length"].to_pylist() == table["length"].to_pylist()
    for row, (lengths, scores) in zip(found.to_pylist(), plain_loop(foreign_scorer, sequences, 24), strict=True):
        assert row["chunk_lengths"] == lengths
        assert row["lqs_average"] == pytest.approx(weighted_mean(scores, lengths), abs=1e-5)


def test_a_killed_scoring_goes_on_where_it_stopped(
    corpus: Path, scorer: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    scored(tmp_path / "whole", corpus, scorer, jsonl=True)
    read: list[str] = []
    original = pq.read_table

    def fails(file: Any, **arguments: Any) -> Any:
        if "input_ids" in arguments.get("columns", ()):
            read.append(Path(file).name)
            if len(read) == 3:
                raise RuntimeError("pulled the plug")
        return original(file, **arguments)

    with monkeypatch.context() as patched:
        patched.setattr(pq, "read_table", fails)
        with pytest.raises(RuntimeError, match="pulled the plug"):
            scored(tmp_path / "cut", corpus, scorer, jsonl=True)
        done = sorted(file.name for file in (tmp_path / "cut/train").iterdir())
        assert done == ["00000.parquet", "00001.parquet"]
        counts = scored(tmp_path / "cut", corpus, scorer, jsonl=True)
    assert read == ["00000.parquet", "00001.parquet", "00002.parquet", "00002.parquet", "00003.parquet"]
    assert counts == scored(tmp_path / "whole", corpus, scorer, jsonl=True)
    contents = [{f.name: f.read_bytes() for f in (tmp_path / n / "train").iterdir()} for n in ("whole", "cut")]
    assert contents[0] == contents[1]


def test_json_lines_hold_the_texts_and_their_scores(corpus: Path, scorer: Path, tmp_path: Path) -> None:
    scored(tmp_path, corpus, scorer)
    assert not list((tmp_path / "train").glob("*.jsonl"))
    scored(tmp_path, corpus, scorer, jsonl=True)
    for file in shards(corpus):
        lines = (tmp_path / "train" / f"{file.stem}.jsonl").read_text(encoding="utf-8").splitlines()
        given, found = pq.read_table(file).to_pylist(), pq.read_table(tmp_path / "train" / file.name).to_pylist()
        assert [json.loads(line) for line in lines] == [
            {name: row[name] for name in ("id", "document_id", "text", "domain")} | {"score": other["lqs_average"]}
            for row, other in zip(given, found, strict=True)
        ]


def test_exactly_one_scorer_is_wanted(corpus: Path, scorer: Path, tmp_path: Path) -> None:
    with pytest.raises(StageError, match="no scorer is given: add the stage train_scorer"):
        scored(tmp_path, corpus, None)
    with pytest.raises(StageError, match="two scorers are given"):
        scored(tmp_path, corpus, scorer, from_pretrained=str(scorer))
    with pytest.raises(StageError, match="windows of 65 tokens: the scorer reads from 1 to 64"):
        scored(tmp_path, corpus, scorer, max_tokens=65)


def test_a_score_that_is_no_number_is_named(corpus: Path, scorer: Path, tmp_path: Path) -> None:
    shutil.copytree(scorer, tmp_path / "s")
    head = load_file(scorer / "head.safetensors")
    save_file(head | {"bias": head["bias"] * np.nan}, tmp_path / "s/head.safetensors")
    with pytest.raises(StageError, match=r"ratings of 20 of 20 sequences are not numbers \(.*; id 1000, 1001"):
        scored(tmp_path / "o", corpus, tmp_path / "s")
    assert not list((tmp_path / "o").rglob("*.parquet"))
