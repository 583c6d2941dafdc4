"""Sizes of corpora that do not exist yet, against those that do."""

import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from qurating.corpus.readers import Jsonl
from qurating.pipeline.planning.corpora import corpus
from qurating.pipeline.planning.counts import UnknownError
from qurating.pipeline.planning.rates import table
from qurating.stages.prepare_corpus import prepare_corpus

REST: dict[str, Any] = {"sequence_length": 64, "heldout_fraction": 0.25, "tokenizer": None, "vocabulary_size": 2000}


def settings(reader: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {**REST, "reader": reader, **more}


def hub(dataset: str, **more: Any) -> dict[str, Any]:
    reader = {"_target_": "qurating.corpus.readers.Hub", "dataset": dataset, "subset": None}
    return {**reader, "max_documents": None, "keep_domains": None, **more}


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    from pydoc_data.topics import topics

    file = tmp_path / "topics.jsonl"
    file.write_text("".join(json.dumps({"text": text}) + "\n" for text in topics.values()), encoding="utf-8")
    return file


def test_files_of_the_user_come_close_to_what_they_hold(texts: Path, tmp_path: Path) -> None:
    """Bytes divided by four: within a factor of two of what the stage finds, on real text."""
    found, origin = corpus(settings({"_target_": "qurating.corpus.readers.Jsonl", "paths": str(texts)}), table())
    made = prepare_corpus(
        output=tmp_path / "made",
        reader=Jsonl([str(texts)]),
        **REST,
        max_characters_for_tokenizer=10**7,
        documents_per_shard=1000,
        max_characters_per_shard=10**7,
        seed=0,
        num_workers=1,
    )
    assert 0.5 < found["tokens"] / made["tokens"] < 2
    assert 0.5 < found["sequences"] / made["sequences"] < 2
    assert found["vocabulary"] == 2000
    assert "bytes of 1 files / 4" in origin


def test_compressed_files_count_more(texts: Path) -> None:
    reader = {"_target_": "qurating.corpus.readers.Jsonl", "paths": str(texts)}
    plain, _ = corpus(settings(reader), table())
    packed = texts.with_name("topics.jsonl.gz")
    packed.write_bytes(gzip.compress(texts.read_bytes()))
    found, _ = corpus(settings({**reader, "paths": [str(packed)]}), table())
    assert 0.5 < found["tokens"] / plain["tokens"] < 2


def test_known_data_sets() -> None:
    whole, origin = corpus(settings(hub("cerebras/SlimPajama-627B"), heldout_fraction=0.0), table())
    assert whole["tokens"] == 627e9
    assert "SlimPajama" in origin
    part, _ = corpus(settings(hub("cerebras/SlimPajama-627B", max_documents=5_000_000)), table())
    assert part["tokens"] + part["heldout_tokens"] == pytest.approx(5e9, rel=0.1)  # as conf/corpus/lqs_paper.yaml says
    with pytest.raises(UnknownError, match="lab/texts"):
        corpus(settings(hub("lab/texts")), table())


def test_the_vocabulary_is_that_of_the_tokenizer() -> None:
    reader = hub("cerebras/SlimPajama-627B")
    found, _ = corpus(settings(reader, tokenizer="meta-llama/Llama-2-7b-hf"), table())
    assert found["vocabulary"] == 32_000
    found, _ = corpus(settings(reader, tokenizer="lab/tokenizer"), table())
    with pytest.raises(UnknownError, match="lab/tokenizer"):
        found.need("vocabulary")
