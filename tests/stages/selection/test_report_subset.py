"""What is said of a subset, against sets and loops: overlaps, tenths, duplicates; near-duplicates and contamination."""

import functools
import itertools
import json
import random
import re
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given
from hypothesis import strategies as st

from qurating.artifacts.files import write_json
from qurating.runtime.errors import StageError
from qurating.selection import rules
from qurating.selection.contamination import Runs, in_parts
from qurating.selection.near_duplicates import find_near_duplicates, runs_of_words
from qurating.selection.subsets import Members, jaccard
from qurating.stages.selection.check_subset import check_subset
from qurating.stages.selection.report_subset import report_subset
from qurating.stages.selection.select import select

WORDS = [a + b for a, b in itertools.product("bdfglmnprst", "aeiou")]
NUM_ROWS = 90


def sentence(rng: random.Random, num_words: int) -> str:
    return " ".join(rng.choices(WORDS, k=num_words))


@pytest.fixture
def texts() -> list[str]:
    rng = random.Random()
    found = [sentence(rng, rng.randint(20, 60)) for _ in range(NUM_ROWS)]
    found[50] = found[10]  # the very text
    found[60] = found[20].replace(" ", ", ").upper()  # the same words
    found[3] = "<script>alert(1)</script> " + found[3]
    return found


@pytest.fixture
def corpus(texts: list[str], tmp_path: Path) -> Path:
    """Three shards; two domains; two held-out texts, of which one quotes a training text."""
    folder = tmp_path / "corpus"
    for number, rows in enumerate(np.array_split(np.arange(NUM_ROWS), 3)):
        table = {
            "id": 1000 + rows,
            "document_id": [f"d{row}" for row in rows],
            "domain": ["web" if row % 3 else "books" for row in rows],
            "text": [texts[row] for row in rows],
            "length": pa.array([len(texts[row].split()) for row in rows], pa.int32()),
        }
        (folder / "train").mkdir(parents=True, exist_ok=True)
        pq.write_table(pa.table(table), folder / f"train/{number:05}.parquet", row_group_size=7)
    (folder / "heldout").mkdir()
    quoting = "So it says: " + " ".join(texts[30].split()[:13]) + " and no more of it at all."
    held = {"document_id": ["h0", "h1"], "domain": ["web", "web"], "text": [sentence(random.Random(), 40), quoting]}
    pq.write_table(pa.table(held), folder / "heldout/00000.parquet")
    return folder


@pytest.fixture
def scores() -> np.ndarray:
    return np.random.default_rng().normal(size=NUM_ROWS)


@pytest.fixture
def ratings(corpus: Path, scores: np.ndarray, tmp_path: Path) -> Path:
    (tmp_path / "ratings/train").mkdir(parents=True)
    for file, part in zip(sorted((corpus / "train").iterdir()), np.array_split(scores, 3), strict=True):
        table = pq.read_table(file, columns=["id", "length"]).append_column("c_average", pa.array(part))
        pq.write_table(table, tmp_path / "ratings/train" / file.name)
    write_json(tmp_path / "ratings/manifest.json", {"labels": ["simulated judge"]})
    return tmp_path / "ratings"


def chosen(corpus: Path, ratings: Path | None, folder: Path, num_tokens: int = 1500, **how: Any) -> Path:
    """A subset as the pipeline leaves it."""
    folder.mkdir(parents=True)
    rule = functools.partial(rules.select, num_tokens=num_tokens, **how)
    select(
        output=folder, corpus=corpus, ratings=ratings, rule=rule, criterion="c" if ratings else None, by_domain=False,
        domain_column="domain", label=folder.name, seed=0,
    )  # fmt: skip
    inputs = {"corpus": f"corpora/{corpus.name} (0123)"}
    write_json(
        folder / "manifest.json",
        {"config": {"label": folder.name}, "inputs": inputs, "labels": ["simulated judge"] if ratings else []},
    )
    return folder


def reported(output: Path, corpus: Path, subset: Path, ratings: Path | None, *others: Path, **changes: Any) -> Any:
    output.mkdir()
    settings: dict[str, Any] = {"criterion": "c", "duplicates": True, "max_rated_rows": 1000, "num_examples": 4}
    settings |= {"excerpt_characters": 200, "seed": 0} | changes
    report_subset(output=output, corpus=corpus, subset=subset, ratings=ratings, compared_with=others, **settings)
    return json.loads((output / "report.json").read_text())


def checked(output: Path, corpus: Path, subset: Path, **changes: Any) -> Any:
    output.mkdir()
    settings: dict[str, Any] = {
        "similarity": 0.8,
        "words_of_duplicates": 5,
        "num_hashes": 128,
        "num_bands": 16,
        "words_of_contamination": 13,
        "heldout": True,
        "evaluation_paths": None,
        "evaluation_files": None,
        "evaluation_field": "text",
        "remove": [],
        "num_examples": 3,
        "excerpt_characters": 200,
        "label": "c",
    }
    return check_subset(output=output, corpus=corpus, subset=subset, **(settings | changes))


def rows_of(subset: Path) -> list[int]:
    return [i - 1000 for i in pq.read_table(subset / "subset.parquet")["id"].to_pylist()]


SETS = st.sets(st.integers(0, 40))


@given(SETS, SETS, st.lists(st.integers(0, 9), min_size=41, max_size=41))
def test_overlap_and_difference_are_those_of_sets(a: set[int], b: set[int], lengths: list[int]) -> None:
    def members(rows: set[int]) -> Members:
        positions = np.array(sorted(rows), np.int64)
        return Members(positions, np.array(lengths, np.int64)[positions])

    def tokens(rows: set[int]) -> int:
        return sum(lengths[row] for row in rows)

    expected = tokens(a & b) / tokens(a | b) if tokens(a | b) else 0.0
    assert jaccard(members(a), members(b)) == pytest.approx(expected)
    assert members(a).without(members(b)).positions.tolist() == sorted(a - b)
    assert members(a).among(5, 20).tolist() == [row in a for row in range(5, 25)]


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
    tenth = sorted(range(NUM_ROWS), key=lambda row: scores[row])[-9:]
    taken = sum(length[row] for row in tenth if row in here)
    assert said["taken_of_top_tenth"] == pytest.approx(taken / sum(length[row] for row in tenth))
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


def test_planted_copies_are_found_and_others_are_not() -> None:
    rng = random.Random()
    texts = [sentence(rng, 100) for _ in range(200)]
    planted = []
    for place in range(0, 200, 10):
        words = texts[place].split()
        words[rng.randrange(100)] = "changed"  # of 96 runs of five words at most 5 differ: 0.9 alike
        planted.append((len(texts), place))
        texts.append(" ".join(words))
    texts += ["", " . ", "two words", "Two, words!"]
    found = find_near_duplicates(iter(texts), threshold=0.75, num_words=5, num_hashes=128, num_bands=32)
    assert [(near.place, near.earlier) for near in found] == [*planted, (223, 222)]
    for near in found[:-1]:
        a, b = ({*runs_of_words(texts[place], 5)} for place in (near.place, near.earlier))
        assert near.similarity == pytest.approx(len(a & b) / len(a | b), abs=0.18)  # four standard errors
    for bad in ({"threshold": 0.0}, {"num_bands": 7}, {"num_words": 0}):
        settings: dict[str, Any] = {"threshold": 0.8, "num_words": 5, "num_hashes": 128, "num_bands": 16} | bad
        with pytest.raises(ValueError, match=r"near-duplicates must lie|do not divide"):
            find_near_duplicates(texts, **settings)


SHORT = st.lists(st.text(st.sampled_from("ab. "), max_size=14), max_size=6)


@given(SHORT, SHORT, st.integers(1, 4), st.integers(1, 3))
def test_shared_runs_are_those_of_a_loop(evaluation: list[str], texts: list[str], num_words: int, size: int) -> None:
    def runs(text: str) -> list[tuple[str, ...]]:
        words = re.findall(r"\w+", text)
        return [tuple(words[i : i + num_words]) for i in range(len(words) - num_words + 1)]

    known: dict[tuple[str, ...], int] = {}
    for place, text in enumerate(evaluation):
        for run in runs(text):
            known.setdefault(run, place)
    own = Runs(in_parts(evaluation, size), num_words)
    assert (len(own), own.num_texts) == (len(known), len(evaluation))
    sizes, shared, whose = own.found_in(texts)
    assert sizes.tolist() == [len(runs(text)) for text in texts]
    assert shared.tolist() == [sum(run in known for run in runs(text)) for text in texts]
    first = [next((known[run] for run in runs(text) if run in known), -1) for text in texts]
    assert whose.tolist() == first


def test_what_is_found_is_left_out_if_asked_for(corpus: Path, texts: list[str], tmp_path: Path) -> None:
    total = sum(len(text.split()) for text in texts)
    everything = chosen(corpus, None, tmp_path / "all", num_tokens=total, temperature=float("inf"))
    counts = checked(tmp_path / "kept", corpus, everything)
    assert (counts["near_duplicates"], counts["contamination"], counts["sequences"]) == (2, 1, NUM_ROWS)
    for name in ("subset.parquet", "summary.json"):
        assert (tmp_path / "kept" / name).read_bytes() == (everything / name).read_bytes()
    flags = pq.read_table(tmp_path / "kept/flagged.parquet").to_pylist()
    assert [(flag["id"], flag["reason"], flag["like"]) for flag in flags] == [
        (1030, "contamination", "held out: h1"),
        (1050, "near_duplicates", "1010"),
        (1060, "near_duplicates", "1020"),
    ]
    assert flags[0]["share"] == pytest.approx(1 / (len(texts[30].split()) - 12))
    more = tmp_path / "more.jsonl"
    more.write_text(json.dumps({"q": {"a": texts[3]}}) + "\n" + json.dumps({"q": {"a": "short"}}) + "\n")
    wanted = {"remove": ["near_duplicates", "contamination"], "evaluation_paths": str(more), "evaluation_field": "q.a"}
    counts = checked(tmp_path / "left", corpus, everything, **wanted)
    assert rows_of(tmp_path / "left") == [row for row in range(NUM_ROWS) if row not in (3, 30, 50, 60)]
    gone = sum(len(texts[row].split()) for row in (3, 30, 50, 60))
    assert (counts["tokens"], counts["tokens_removed"]) == (total - gone, gone)
    domains = json.loads((tmp_path / "left/summary.json").read_text())["domains"]
    assert sum(domain["tokens"] for domain in domains.values()) == total - gone
    assert domains["books"]["sequences"] == sum(row % 3 == 0 for row in rows_of(tmp_path / "left"))
    page = (tmp_path / "left/report.html").read_text()
    assert "&lt;script&gt;" in page
    assert "<script>" not in page


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
    assert checked(tmp_path / "checked", corpus, everything, **more)["evaluation_texts_too_short"] == 2
    page = (tmp_path / "checked/report.html").read_text()
    assert "Simulated judge" in page
    assert "2 of them have fewer words than that" in page
    flagged = json.loads((tmp_path / "checked/report.json").read_text())["flagged"]["near_duplicates"]["sequences"]
    assert flagged > 1
    assert f"1 of {flagged}, evenly spread from the most alike to the least" in page


def test_bad_settings_and_files_are_refused(corpus: Path, tmp_path: Path) -> None:
    subset = chosen(corpus, None, tmp_path / "s", temperature=float("inf"))
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "fine"}\n{"question": "?"}\n')
    cases: list[tuple[dict[str, Any], str]] = [
        ({"remove": ["duplicates"]}, "there is no duplicates; there are near_duplicates, contamination"),
        ({"words_of_contamination": 0}, "must be at least 1"),
        ({"num_bands": 5}, "5 bands do not divide 128 hashes"),
        ({"evaluation_paths": str(tmp_path / "absent.jsonl")}, "no file matches"),
        ({"evaluation_paths": str(bad)}, r"bad\.jsonl, line 2: no field 'text'[\s\S]*check_subset\.evaluation_field"),
    ]
    for number, (changes, message) in enumerate(cases):
        with pytest.raises(StageError, match=message):
            checked(tmp_path / f"out{number}", corpus, subset, **changes)
