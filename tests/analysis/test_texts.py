"""Texts at positions of a corpus in shards."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from rated_example import NUM_ROWS, ROWS_A_SHARD, on_disk

from qurating.analysis import texts
from qurating.artifacts.files import write_table

SIZES = [ROWS_A_SHARD] * 3


@pytest.mark.parametrize("positions", [[0, 79, 80, 200, 239], [81, 82], list(range(NUM_ROWS)), []])
def test_rows_are_found_across_shards(positions: list[int], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(texts, "_ROWS_AT_ONCE", 7)
    corpus = on_disk(tmp_path)["c"]
    found = list(texts.rows_at(corpus / "train", np.array(positions, np.int64), ["position", "no such"], SIZES))
    rows = [row for table in found for row in table.to_pylist()]
    assert [row["id"] for row in rows] == [1000 + position for position in positions]
    assert [row["position"] for row in rows] == [position % 2 for position in positions]
    assert "no such" not in (rows[0] if rows else {})


def test_a_corpus_need_not_have_texts(tmp_path: Path) -> None:
    assert texts.has_text(on_disk(tmp_path)["c"])
    write_table(tmp_path / "other/train/0.parquet", pa.table({"id": [1]}))
    assert not texts.has_text(tmp_path / "other")


def test_a_null_is_an_empty_text(tmp_path: Path) -> None:
    write_table(tmp_path / "train/0.parquet", pa.table({"id": [1, 2], "text": ["a", None]}))
    assert list(texts.texts_at(tmp_path, np.array([0, 1]), [2])) == ["a", ""]
