"""Near-duplicates and contamination in a subset, flagged or removed."""

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from subset_example import NUM_ROWS, checked, chosen, corpus_of, rows_of, some_texts

from qurating.runtime.errors import StageError


@pytest.fixture
def texts() -> list[str]:
    return some_texts()


@pytest.fixture
def corpus(texts: list[str], tmp_path: Path) -> Path:
    return corpus_of(texts, tmp_path / "corpus")


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


def test_what_is_too_short_is_counted_by_domain(texts: list[str], tmp_path: Path) -> None:
    texts[4], texts[7] = ", 5)", ".5])"  # domain web
    texts[6] = texts[9] = "今天天气很好"  # domain books; too short for contamination alone
    texts[12] = "一二三。"
    corpus = corpus_of(texts, tmp_path / "corpus")
    subset = chosen(corpus, None, tmp_path / "s", sum(len(t.split()) for t in texts), temperature=float("inf"))
    more = tmp_path / "tasks.jsonl"
    more.write_text("".join(json.dumps({"text": text}) + "\n" for text in ["one", "", "短い文", texts[20]]))
    counts = checked(tmp_path / "out", corpus, subset, evaluation_paths=str(more))
    flags = pq.read_table(tmp_path / "out/flagged.parquet").to_pylist()
    assert [flag["id"] for flag in flags if flag["reason"] == "near_duplicates"] == [1009, 1050, 1060]
    assert counts["compared_whole"] == {"web": 2, "books": 1}
    assert counts["too_short_for_contamination"] == {"books": 3, "web": 2}
    assert counts["evaluation_texts_too_short"] == {"tasks.jsonl": 3}
    report = json.loads((tmp_path / "out/report.json").read_text())
    assert report["compared_whole"] == {"web": 2, "books": 1}
    page = (tmp_path / "out/report.html").read_text()
    assert "which cannot be found: 3 (tasks.jsonl 3)" in page
    assert "which contamination leaves out: 5 (books 3, web 2)" in page
    assert "only of the very same text: 3 (web 2, books 1)" in page


def test_bad_settings_and_files_are_refused(corpus: Path, tmp_path: Path) -> None:
    subset = chosen(corpus, None, tmp_path / "s", temperature=float("inf"))
    bad = tmp_path / "bad.jsonl"
    bad.write_text('{"text": "fine"}\n{"question": "?"}\n')
    cases: list[tuple[dict[str, Any], str]] = [
        ({"remove": ["duplicates"]}, "unknown duplicates; use near_duplicates, contamination"),
        ({"words_of_contamination": 0}, "must be at least 1"),
        ({"num_bands": 5}, "5 bands do not divide 128 hashes"),
        ({"evaluation_paths": str(tmp_path / "absent.jsonl")}, "no file matches"),
        ({"evaluation_paths": str(bad)}, r"bad\.jsonl, line 2: no field 'text'[\s\S]*check_subset\.evaluation_field"),
    ]
    for number, (changes, message) in enumerate(cases):
        with pytest.raises(StageError, match=message):
            checked(tmp_path / f"out{number}", corpus, subset, **changes)
