"""The resolvers in YAML files."""

import os
from pathlib import Path

import pytest

from qurating.pipeline import resolvers


def test_other_files_are_another_corpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "a.jsonl"
    file.write_text("{}\n", encoding="utf-8")
    before = resolvers._listing(str(tmp_path / "*.jsonl"))
    assert before == resolvers._listing([str(file)])
    file.write_text("{}\n{}\n", encoding="utf-8")
    assert resolvers._listing(str(file)) != before
    file.write_text("tox")
    edited = resolvers._listing(str(file))
    file.write_text("fox")
    os.utime(file, ns=(1, 1))
    assert resolvers._listing(str(file)) != edited  # of the same size
    monkeypatch.setattr(resolvers, "_MAX_READ_BYTES", 2)
    assert resolvers._listing(str(file)) not in (before, edited)


def test_counts_read_as_people_write_them() -> None:
    names = {30_000_000_000: "30B", 400_000: "400K", 1_500_000: "1.5M", 123_456: "123456", 999: "999", 1000: "1K"}
    assert {number: resolvers._count(number) for number in names} == names
    assert resolvers._stem(["/data/wiki-*.jsonl.gz"]) == "wiki"
    assert resolvers._stem("/data/books/*.parquet") == "books"
