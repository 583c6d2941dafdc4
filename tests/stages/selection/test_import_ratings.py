"""Ratings that others made: matched by id, checked, counted, and as useful as those of a rater."""

import os
import pydoc_data.topics
import random
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hydra import compose
from markdown_pages import ROOT, blocks
from own_ratings import HELDOUT, TRAIN, corpus_of, imported, rows_of, sequences, written
from token_tables import CRITERIA, LENGTH, released_tables, tokenizer_of

from qurating.artifacts.files import read_json, write_json
from qurating.pipeline.run import run_stage
from qurating.rating.shards import check_fresh
from qurating.runtime.errors import StageError

EVERY = [row for documents in TRAIN for row in sequences(documents)]
BY_DOCUMENT = {name: float(place) for place, name in enumerate([*TRAIN[0], *TRAIN[1]])}


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    return corpus_of(tmp_path / "corpus")


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_ratings_of_sequences_in_any_order(corpus: Path, tmp_path: Path, ending: str) -> None:
    scores = {row["id"]: place / 7 for place, row in enumerate(EVERY)}
    rows = [{"url": f"u{i}", "score": score, "grade": i % 3, "id": i} for i, score in scores.items()]
    random.Random(0).shuffle(rows)
    for part in (0, 1):
        written(tmp_path / f"scores-{part}.{ending}", rows[part::2])
    counts = imported(tmp_path / "out", corpus, f"{tmp_path}/scores-*.{ending}")
    assert counts == {
        **{"sequences": 8, "tokens": sum(row["length"] for row in EVERY), "criteria": ["score", "grade"]},
        **{"missing": 0, "surplus": 0, "heldout": 0, "repeated": 0, "ratings_of": "sequences", "unused": ["url"]},
        "labels": [],
    }
    found = rows_of(tmp_path / "out")
    assert [(row["id"], row["length"]) for row in found] == [(row["id"], row["length"]) for row in EVERY]
    for row in found:
        assert row["score_average"] == scores[row["id"]]
        assert row["grade_average"] == row["id"] % 3
        assert (row["chunk_lengths"], row["score_chunks"]) == ([row["length"]], [scores[row["id"]]])
    assert [pq.read_metadata(tmp_path / f"out/train/0000{n}.parquet").num_rows for n in (0, 1)] == [5, 3]
    assert not list((tmp_path / "out").glob(".*"))
    check_fresh(corpus, tmp_path / "out")
    first = corpus / "train/00000.parquet"
    pq.write_table(pq.read_table(first).append_column("new", pa.array(range(5))), first)
    with pytest.raises(StageError, match="was changed after it was rated"):
        check_fresh(corpus, tmp_path / "out")


@pytest.mark.parametrize("key", ["document_id", "id", "name"])
@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_each_sequence_of_a_document_gets_its_rating(corpus: Path, tmp_path: Path, key: str, ending: str) -> None:
    rows = [{key: name, "score": score} for name, score in (BY_DOCUMENT | dict.fromkeys(HELDOUT, 9.0)).items()]
    file = written(tmp_path / f"s.{ending}", [*rows, {key: "stranger", "score": 0.5}])
    counts = imported(tmp_path / "out", corpus, file, document_field="name" if key == "name" else None)
    assert [row["score_average"] for row in rows_of(tmp_path / "out")] == [
        BY_DOCUMENT[row["document_id"]] for row in EVERY
    ]
    assert (counts["ratings_of"], counts["heldout"], counts["surplus"]) == ("documents", 2, 1)


def test_rows_without_ids_are_the_documents_at_their_places(corpus: Path, tmp_path: Path) -> None:
    """As readers of corpora name documents without an `id_field`: a file and the number of a row or line."""
    for number, names in enumerate((["web.parquet:0", "web.parquet:1"], ["b.jsonl:1", "b.jsonl:2"])):
        rows = [{"id": place, "document_id": name, "length": 3} for place, name in enumerate(names)]
        pq.write_table(pa.Table.from_pylist(rows), corpus / "train" / f"{number:05d}.parquet")
    written(tmp_path / "web.parquet", [{"text": "x", "score": 1.0}, {"text": "y", "score": 2.0}])
    written(tmp_path / "b.jsonl", [{"text": "x", "score": 3}, {"text": "y", "score": 4}])
    imported(tmp_path / "out", corpus, [f"{tmp_path}/web.parquet", f"{tmp_path}/b.jsonl"])
    assert [row["score_average"] for row in rows_of(tmp_path / "out")] == [1.0, 2.0, 3.0, 4.0]


@pytest.mark.parametrize("ending", ["parquet", "jsonl"])
def test_windows_come_along_where_they_are_those_of_the_sequence(corpus: Path, tmp_path: Path, ending: str) -> None:
    rows = [
        {"document_id": name, "chunk_lengths": [7, 3], "c_chunks": [score, -1.0], "c_average": score, "index": 5}
        for name, score in BY_DOCUMENT.items()
    ]
    counts = imported(tmp_path / "out", corpus, written(tmp_path / f"s.{ending}", rows))
    assert (counts["criteria"], counts["unused"]) == (["c"], ["index"])
    for row, own in zip(rows_of(tmp_path / "out"), EVERY, strict=True):
        score = BY_DOCUMENT[own["document_id"]]
        is_alone = own["document_id"] in ("a:1", "数", "e")
        assert row["chunk_lengths"] == ([7, 3] if is_alone else [own["length"]])
        assert row["c_chunks"] == ([score, -1.0] if is_alone else [score])
        assert row["c_average"] == score


def test_ratings_of_this_program_are_read_with_their_labels(corpus: Path, tmp_path: Path) -> None:
    rows = [{"id": row["id"], "score": place * 0.1} for place, row in enumerate(EVERY)]
    imported(tmp_path / "first", corpus, written(tmp_path / "s.parquet", rows))
    write_json(tmp_path / "first/manifest.json", {"labels": ["simulated judge"]})
    counts = imported(tmp_path / "again", corpus, f"{tmp_path}/first/train/*.parquet")
    assert counts["labels"] == ["simulated judge"]
    assert rows_of(tmp_path / "again") == rows_of(tmp_path / "first")


def test_sequences_without_a_rating_are_an_error_or_get_a_value(corpus: Path, tmp_path: Path) -> None:
    rows = [{"id": row["id"], "score": 1.0} for row in EVERY[2:6]]
    file = written(tmp_path / "s.parquet", rows)
    expected = rf"4 of 8 sequences of .*corpus have no rating: {EVERY[0]['id']} of document 'a:1', .*, …\."
    with pytest.raises(StageError, match=expected):
        imported(tmp_path / "out", corpus, file)
    counts = imported(tmp_path / "out", corpus, file, missing_value=-3)
    assert [row["score_average"] for row in rows_of(tmp_path / "out")] == [-3, -3, 1, 1, 1, 1, -3, -3]
    assert counts["missing"] == 4
    with pytest.raises(StageError, match="missing_value is a finite number, not inf"):
        imported(tmp_path / "out", corpus, file, missing_value=float("inf"))


def test_ids_of_another_kind_are_told(corpus: Path, tmp_path: Path) -> None:
    rows = [{"id": place, "score": 1.0} for place in range(9)]
    expected = r"8 of 8 .*\n?.*first rating is of sequence '0': .*document_field=id"
    with pytest.raises(StageError, match=expected):
        imported(tmp_path / "out", corpus, written(tmp_path / "s.jsonl", rows))
    with pytest.raises(StageError, match=r"first rating is of document 's\.jsonl:1'"):
        imported(tmp_path / "out", corpus, written(tmp_path / "s.jsonl", [{"score": 1.0}]))


def test_the_same_id_twice(corpus: Path, tmp_path: Path) -> None:
    rows = [{"document_id": name, "score": score} for name, score in BY_DOCUMENT.items()]
    counts = imported(tmp_path / "out", corpus, written(tmp_path / "s.jsonl", [*rows, *rows[1:3]]))
    assert (counts["repeated"], counts["surplus"]) == (2, 0)
    written(tmp_path / "t.parquet", [{"document_id": "x", "score": 0.0}, {"document_id": "b", "score": 7.0}])
    expected = r"different ratings at .*s\.jsonl, line 6, and at .*t\.parquet, row 1: \[1\.0\] and \[7\.0\]"
    with pytest.raises(StageError, match=expected):
        imported(tmp_path / "out", corpus, [f"{tmp_path}/s.jsonl", f"{tmp_path}/t.parquet"])


def test_the_order_of_rows_and_files_changes_nothing(corpus: Path, tmp_path: Path) -> None:
    draw = np.random.default_rng(0)
    rows = [{"id": row["id"], "a": float(draw.normal()), "b": float(draw.normal())} for row in EVERY]
    imported(tmp_path / "one", corpus, written(tmp_path / "one.parquet", rows))
    for part in range(3):
        written(tmp_path / f"many-{part}.jsonl", rows[::-1][part::3])
    imported(tmp_path / "two", corpus, f"{tmp_path}/many-*.jsonl")
    assert rows_of(tmp_path / "one") == rows_of(tmp_path / "two")


def test_the_example_of_the_page_runs_as_written(tmp_path: Path) -> None:
    """Scores of a classifier for the documents of a corpus: selection by them, without a judge or a rater."""
    page = ROOT / "docs/rating.md"
    (command,) = [block.text for block in blocks(page) if block.language == "sh" and "ratings=scores" in block.text]
    texts = list(pydoc_data.topics.topics.values())
    names = [f"topic-{place}" for place in range(len(texts))]
    written(tmp_path / "web.jsonl", [{"id": name, "text": text} for name, text in zip(names, texts, strict=True)])
    scores = {name: float(text.count("the") / len(text)) for name, text in zip(names, texts, strict=True)}
    written(tmp_path / "scores.parquet", [{"id": name, "url": "", "score": score} for name, score in scores.items()])
    words = [sys.executable, str(ROOT / "run.py"), *shlex.split(command.replace("\\\n", " "))[2:], "num_workers=1"]
    environment: dict[str, Any] = os.environ | {"OMP_NUM_THREADS": "1"}
    ran = subprocess.run(words, cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-2000:] + ran.stderr[-2000:]
    assert "ratings of documents, by score; not used: url" in ran.stderr + ran.stdout
    (manifest,) = [read_json(file) for file in (tmp_path / "artifacts/subsets").glob("*/manifest.json")]
    assert manifest["inputs"]["ratings"].startswith("ratings/own-scores")
    (subset,) = (tmp_path / "artifacts/subsets").glob("*/subset.parquet")
    chosen = pq.read_table(subset)
    (own,), (corpus,) = ((tmp_path / "artifacts").glob(f"{name}[!.]*/") for name in ("ratings/own", "corpora/web"))
    rated = {row["id"]: row["score_average"] for row in rows_of(own)}
    shards = pq.read_table(corpus / "train", columns=["id", "document_id"]).to_pylist()
    assert all(rated[row["id"]] == scores[row["document_id"]] for row in shards)
    taken = {*chosen["id"].to_pylist()}
    assert 2000 <= sum(chosen["length"].to_pylist()) < 4000
    assert min(rated[i] for i in taken) >= max(score for i, score in rated.items() if i not in taken)


def test_the_released_corpus_gives_its_tokens_and_its_ratings(conf: Path, tmp_path: Path) -> None:
    """One choice of a corpus, and `ratings` of the same files: nothing is tokenised, judged or rated."""
    tokenizer = tokenizer_of(tmp_path / "tokenizer")
    rows = released_tables(tmp_path / "data", tokenizer)
    given = ["corpus=quratedpajama", f"corpus.paths={tmp_path}/data/*.parquet", "ratings='${corpus.paths}'"]
    given += [f"corpus.tokenizer={tokenizer}", f"corpus.sequence_length={LENGTH}", "corpus.heldout_fraction=0.1"]
    given += ["selection=top_k", "by_domain=true", "num_tokens=1000", "num_workers=0"]
    given += [f"paths.artifacts={tmp_path}/artifacts", "stage=[prepare_corpus,import_ratings,select]"]
    config = compose("config", given)
    made = {stage: run_stage(stage, config, "[1/3]") for stage in config.stages}
    counts = read_json(made["import_ratings"] / "manifest.json")["counts"]
    assert counts["criteria"] == sorted(counts["criteria"], key=CRITERIA.index) == list(CRITERIA)
    assert counts["heldout"] + counts["sequences"] == len(rows)
    assert (counts["surplus"], counts["missing"], counts["ratings_of"]) == (0, 0, "documents")
    own = {tuple(row["input_ids"]): row for row in rows}
    corpus = [
        row for file in sorted((made["prepare_corpus"] / "train").iterdir()) for row in pq.read_table(file).to_pylist()
    ]
    best: dict[str, list[float]] = {}
    for sequence, rated in zip(corpus, rows_of(made["import_ratings"]), strict=True):
        row = own[tuple(sequence["input_ids"])]
        assert rated["id"] == sequence["id"]
        assert rated["chunk_lengths"] == row["chunk_lengths"]
        for criterion in CRITERIA:
            assert rated[f"{criterion}_chunks"] == row[f"{criterion}_chunks"]
            assert rated[f"{criterion}_average"] == row[f"{criterion}_average"]
        best.setdefault(row["source_domain"], []).append(row["educational_value_average"])
    chosen = pq.read_table(made["select"] / "subset.parquet").to_pylist()
    assert 1000 <= sum(row["length"] for row in chosen) < 1000 + 2 * LENGTH
    for domain, scores in best.items():
        taken = sorted(row["score"] for row in chosen if row["domain"] == domain)
        assert taken == sorted(scores)[-len(taken) :]
