"""Reading the sequences that an index names, from a corpus of several shards."""

from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from qurating.corpus.sequences import find_subset, read_sequences, texts_of_subset
from qurating.runtime.errors import StageError

SIZES = (7, 1, 0, 12, 5)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Five shards, one without a row, of paragraphs of Python's documentation; a token is a character's number."""
    texts = [part for topic in topics.values() for part in topic.split("\n\n") if part.strip()]
    ids = np.random.default_rng(0).integers(-(2**62), 2**62, sum(SIZES))
    (tmp_path / "train").mkdir()
    start = 0
    for number, size in enumerate(SIZES):
        mine = texts[start : start + size]
        columns = {
            "id": pa.array(ids[start : start + size], pa.int64()),
            "text": pa.array(mine, pa.string()),
            "input_ids": pa.array([[ord(c) for c in text] for text in mine], pa.list_(pa.int32())),
        }
        pq.write_table(pa.table(columns), tmp_path / "train" / f"{number:05}.parquet")
        start += size
    return tmp_path


def whole_index(corpus: Path) -> pa.Table:
    parts = []
    for number, file in enumerate(sorted((corpus / "train").glob("*.parquet"))):
        ids = pq.read_table(file)["id"]
        shard = pa.array([number] * len(ids), pa.int32())
        parts.append(pa.table({"id": ids, "shard": shard, "row": pa.array(range(len(ids)), pa.int32())}))
    return pa.concat_tables(parts)


@pytest.mark.parametrize("repeated", [False, True])
def test_rows_come_in_the_order_of_the_index(corpus: Path, repeated: bool) -> None:
    index = whole_index(corpus)
    places = np.random.default_rng(0).choice(len(index), 11, replace=repeated)
    index = index.take(pa.array(places))
    found = read_sequences(corpus, index, ["text", "id", "input_ids"])
    assert found.column_names == ["text", "id", "input_ids"]
    assert found["id"].to_pylist() == index["id"].to_pylist()
    files = sorted((corpus / "train").glob("*.parquet"))
    for place, got in zip(index.to_pylist(), found.to_pylist(), strict=True):
        expected = pq.read_table(files[place["shard"]]).slice(place["row"], 1).to_pylist()[0]
        assert got == {name: expected[name] for name in ("text", "id", "input_ids")}
        assert got["text"] == "".join(map(chr, got["input_ids"]))
    assert all(column.num_chunks == 1 for column in found.columns)


def test_only_what_is_asked_for_is_read(corpus: Path) -> None:
    index = whole_index(corpus)
    (corpus / "train/00004.parquet").write_bytes(b"damaged")
    of_others = index.filter(pa.array([n != 4 for n in index["shard"].to_pylist()]))
    assert read_sequences(corpus, of_others, ["text"]).column_names == ["text"]
    nothing = read_sequences(corpus, index.slice(0, 0), ["input_ids"])
    assert len(nothing) == 0
    assert nothing.schema.field("input_ids").type == pa.list_(pa.int32())


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("id", 17, r"row 3 of 00003.parquet is not the sequence 17 that it names there \(1 of 12 differ\)"),
        ("shard", 5, "it names shard 5, and there are 5"),
        ("row", 12, "00003.parquet has 12 rows, and it names row 12"),
    ],
)
def test_an_index_of_another_corpus_is_refused(corpus: Path, column: str, value: int, message: str) -> None:
    index = whole_index(corpus)
    values = index[column].to_pylist()
    values[7 + 1 + 3] = value
    place = index.schema.get_field_index(column)
    index = index.set_column(place, column, pa.array(values, index.schema.field(place).type))
    with pytest.raises(StageError, match=f"another corpus than .*{message}"):
        read_sequences(corpus, index, ["text"])


@pytest.mark.parametrize("rows_at_once", [1, 4, 100])
def test_a_subset_is_found_where_it_lies(corpus: Path, rows_at_once: int) -> None:
    index = whole_index(corpus)
    (corpus / "train/00004.parquet").write_bytes(b"damaged")  # no shard is opened for nothing
    chosen = np.flatnonzero(np.random.default_rng(0).random(len(index)) < 0.4)
    index = index.take(pa.array(chosen[index["shard"].to_numpy()[chosen] != 4]))
    places, ids = list[int](), list[int]()
    for found in find_subset(corpus, index, ["text"], rows_at_once):
        assert found.batch.num_rows <= rows_at_once
        assert {f"{shard:05}.parquet" for shard in index["shard"].to_pylist()[found.places]} <= {found.file.name}
        places += range(len(index))[found.places]
        ids += found.batch.column("id").take(pa.array(found.rows)).to_pylist()
    assert places == list(range(len(index)))
    assert ids == index["id"].to_pylist()
    texts = [text for some in texts_of_subset(corpus, index) for text in some]
    assert texts == read_sequences(corpus, index, ["text"])["text"].to_pylist()


@pytest.mark.parametrize(
    ("column", "value", "message"),
    [
        ("id", 17, "other ids in 00004.parquet"),
        ("shard", 5, "it names shard 5, and there are 5"),
        ("row", 5, "00004.parquet is shorter"),
    ],
)
def test_a_subset_of_another_corpus_is_refused(corpus: Path, column: str, value: int, message: str) -> None:
    index = whole_index(corpus)
    place = index.schema.get_field_index(column)
    values = [*index[column].to_pylist()[:-1], value]
    index = index.set_column(place, column, pa.array(values, index.schema.field(place).type))
    with pytest.raises(StageError, match=f"the subset was selected from another corpus than .*: {message}"):
        list(texts_of_subset(corpus, index))
