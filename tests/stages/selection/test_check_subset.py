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
