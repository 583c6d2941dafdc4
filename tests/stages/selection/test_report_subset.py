"""The report on a subset, against sets and loops: overlaps, deciles, duplicates."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from subset_example import NUM_ROWS, checked, chosen, corpus_of, ratings_of, reported, rows_of, some_texts

from qurating.artifacts.files import write_json
from qurating.runtime.errors import StageError
from qurating.stages.selection.report_subset import report_subset


@pytest.fixture
def texts() -> list[str]:
    return some_texts()


@pytest.fixture
def corpus(texts: list[str], tmp_path: Path) -> Path:
    return corpus_of(texts, tmp_path / "corpus")


@pytest.fixture
def scores() -> np.ndarray:
    return np.random.default_rng(0).normal(size=NUM_ROWS)


@pytest.fixture
def ratings(corpus: Path, scores: np.ndarray, tmp_path: Path) -> Path:
    return ratings_of(corpus, scores, tmp_path / "ratings")


def test_domains_are_those_of_the_selection(corpus: Path, tmp_path: Path) -> None:
    """A subset that was selected by another column of the corpus is compared by that column."""
    for file in (corpus / "train").glob("*.parquet"):
        table = pq.read_table(file)
        langs = ["de" if row % 2 else "en" for row in table["id"].to_pylist()]
        pq.write_table(table.append_column("lang", pa.array(langs)), file)
    one, other = (chosen(corpus, None, tmp_path / name, domain_column="lang", temperature=float("inf"), seed=seed)
                  for seed, name in enumerate(("one", "other")))  # fmt: skip
    found = reported(tmp_path / "out", corpus, one, None, other)
    assert set(found["domains"]) == {"de", "en"}
    assert set(found["compared"][0]["came_in"]["domains"]) == {"de", "en"}


def test_the_report_says_what_the_rows_say(
    corpus: Path, ratings: Path, texts: list[str], scores: np.ndarray, tmp_path: Path
) -> None:
    top = chosen(corpus, ratings, tmp_path / "top")
    uniform = chosen(corpus, None, tmp_path / "uniform", temperature=float("inf"))
    found = reported(tmp_path / "out", corpus, top, ratings, uniform)
    here, there = rows_of(top), rows_of(uniform)
    length = [len(text.split()) for text in texts]
    tokens = sum(length[row] for row in here)
    assert found["whole"]["subset"] == {"sequences": len(here), "tokens": tokens, "mean_length": tokens / len(here)}
    assert found["whole"]["corpus"]["tokens"] == sum(length)
    books = [row for row in here if row % 3 == 0]
    assert found["domains"]["books"]["tokens"] == sum(length[row] for row in books)
    said = found["scores"]["c"]
    assert said["mean_of_subset"] == pytest.approx(scores[here].mean())
    assert said["mean_of_corpus"] == pytest.approx(scores.mean())
    decile = sorted(range(NUM_ROWS), key=lambda row: scores[row])[-9:]
    taken = sum(length[row] for row in decile if row in here)
    assert said["taken_of_top_tenth"] == pytest.approx(taken / sum(length[row] for row in decile))
    assert said["top_tenth_of_subset"] == pytest.approx(taken / tokens)
    (other,) = found["compared"]
    assert other["jaccard"] == pytest.approx(
        sum(length[row] for row in {*here} & {*there}) / sum(length[row] for row in {*here} | {*there})
    )
    for side, rows in (("came_in", {*here} - {*there}), ("went_out", {*there} - {*here})):
        assert other[side]["sequences"] == len(rows)
        assert other[side]["tokens"] == sum(length[row] for row in rows)
        assert sum(other[side]["domains"].values()) == other[side]["tokens"]
        assert other[side]["mean_scores"]["c"] == pytest.approx(np.mean([scores[row] for row in rows]))


def test_everything_and_duplicates_and_hostile_text(
    corpus: Path, ratings: Path, texts: list[str], tmp_path: Path
) -> None:
    total = sum(len(text.split()) for text in texts)
    everything = chosen(corpus, None, tmp_path / "all", num_tokens=total, temperature=float("inf"))
    little = chosen(corpus, ratings, tmp_path / "little", num_tokens=100)
    found = reported(tmp_path / "out", corpus, everything, None, little, num_examples=NUM_ROWS)
    assert found["scores"] == {}
    assert found["duplicates"] == {"sequences": 1, "tokens": len(texts[50].split())}
    page = (tmp_path / "out/report.html").read_text()
    assert ("&lt;script&gt;alert(1)" in page) == (3 not in rows_of(little))
    assert "<script>" not in page
    again = reported(tmp_path / "again", corpus, everything, None, little, num_examples=NUM_ROWS)
    assert again == found
    assert (tmp_path / "again/report.html").read_text() == page


def test_subsets_of_another_corpus_are_refused(corpus: Path, ratings: Path, tmp_path: Path) -> None:
    a, b = (chosen(corpus, ratings, tmp_path / name) for name in "ab")
    write_json(b / "manifest.json", {"inputs": {"corpus": "corpora/other (4567)"}})
    with pytest.raises(StageError, match="was selected from corpora/other"):
        reported(tmp_path / "x", corpus, a, ratings, b)
    table = pq.read_table(a / "subset.parquet")
    beyond = table.set_column(table.schema.get_field_index("row"), "row", pa.array([99] * len(table), pa.int32()))
    pq.write_table(beyond, a / "subset.parquet")
    with pytest.raises(StageError, match="selected from another corpus"):
        reported(tmp_path / "y", corpus, a, ratings)
    with pytest.raises(StageError, match="selected from another corpus"):
        checked(tmp_path / "z", corpus, a)


def test_constant_scores_and_texts_without_words_are_on_the_page(corpus: Path, tmp_path: Path) -> None:
    ratings = ratings_of(corpus, np.full(NUM_ROWS, 0.25), tmp_path / "r")
    write_json(ratings / "manifest.json", {"labels": [], "counts": {"without_words": {"web": 3}}})
    subset = chosen(corpus, ratings, tmp_path / "s")
    found = reported(tmp_path / "out", corpus, subset, ratings)
    assert found["constant_scores"] == {"c": {"all": NUM_ROWS}}
    page = (tmp_path / "out/report.html").read_text()
    assert "<strong>Constant scores, simulated judge</strong>" in page
    assert f"All scores by c are equal, and choose nothing, among these sequences: {NUM_ROWS} (all {NUM_ROWS})" in page
    assert "Sequences without a word, whose importance weight is 0: 3 (web 3)" in page
    checked(tmp_path / "checked", corpus, subset)
    assert "<strong>Constant scores, simulated judge</strong>" in (tmp_path / "checked/report.html").read_text()


def test_pages_say_what_a_reader_would_miss(corpus: Path, ratings: Path, texts: list[str], tmp_path: Path) -> None:
    rated, drawn = (
        chosen(corpus, ratings, tmp_path / "rated"),
        chosen(corpus, None, tmp_path / "drawn", temperature=np.inf),
    )
    settings: dict[str, Any] = {
        "criterion": None,
        "duplicates": False,
        "max_rated_rows": 9,
        "num_examples": 1,
        "seed": 0,
    }
    for name, compared_with in (("one", drawn), ("other", rated)):
        (tmp_path / name).mkdir()
        report_subset(
            output=tmp_path / name, corpus=corpus, subset=drawn, ratings=None, compared_with=compared_with,
            excerpt_characters=50, **settings,
        )  # fmt: skip
    assert "Simulated judge" not in (tmp_path / "one/report.html").read_text()
    assert "Simulated judge" in (tmp_path / "other/report.html").read_text()
    (tmp_path / "short.jsonl").write_text('{"text": "What is two and two?"}\n{"text": ""}\n')
    total = sum(len(text.split()) for text in texts)
    everything = chosen(corpus, ratings, tmp_path / "everything", num_tokens=total)
    more = {"evaluation_paths": str(tmp_path / "short.jsonl"), "num_examples": 1, "similarity": 0.5}
    assert checked(tmp_path / "checked", corpus, everything, **more)["evaluation_texts_too_short"] == {"short.jsonl": 2}
    page = (tmp_path / "checked/report.html").read_text()
    assert "Simulated judge" in page
    assert "fewer than 13 words, which cannot be found: 2 (short.jsonl 2)" in page
    flagged = json.loads((tmp_path / "checked/report.json").read_text())["flagged"]["near_duplicates"]["sequences"]
    assert flagged > 1
    assert f"1 of {flagged}, evenly spread from the most alike to the least" in page
