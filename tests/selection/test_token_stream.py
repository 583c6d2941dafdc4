"""The token stream against the sequences that it was made of, one by one."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from gaps_example import corpus_with_gaps
from sweep_example import corpus as make_corpus

from qurating.runtime.errors import StageError
from qurating.selection import token_stream
from qurating.selection.token_stream import write_in_order


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("corpus"))


def some_of(corpus: Path) -> tuple[pa.Table, dict[int, list[int]]]:
    """An index of every third sequence, and the tokens of each by its id."""
    rows, tokens = [], dict[int, list[int]]()
    for shard, file in enumerate(sorted((corpus / "train").glob("*.parquet"))):
        for row, sequence in enumerate(pq.read_table(file).to_pylist()):
            if row % 3 == 0:
                rows.append({"id": sequence["id"], "shard": shard, "row": row, "length": sequence["length"]})
                tokens[sequence["id"]] = sequence["input_ids"]
    return pa.Table.from_pylist(rows), tokens


@pytest.mark.parametrize("short", [1, 10_000])  # tokens are copied sequence by sequence, or all at once
def test_the_stream_holds_each_sequence_at_its_offset(
    corpus: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, short: int
) -> None:
    monkeypatch.setattr(token_stream, "_SHORT", short)
    index, tokens = some_of(corpus)
    permutation = np.random.default_rng(1).permutation(len(index))
    num_tokens = write_in_order(tmp_path, corpus, index, permutation)
    order = pq.read_table(tmp_path / "order.parquet").to_pylist()
    assert [row["id"] for row in order] == index["id"].take(permutation).to_pylist()
    expected = [token for row in order for token in tokens[row["id"]]]
    assert np.load(tmp_path / "tokens.npy").tolist() == expected
    assert num_tokens == len(expected)


def test_an_index_of_another_corpus_is_refused(corpus: Path, tmp_path: Path) -> None:
    index, _ = some_of(corpus)
    other = index.set_column(0, "id", pa.array([each + 1 for each in index["id"].to_pylist()], pa.int64()))
    with pytest.raises(StageError, match="another corpus"):
        write_in_order(tmp_path, corpus, other, np.arange(len(index)))


def test_the_highest_id_decides_how_many_bits_a_token_takes(tmp_path: Path) -> None:
    corpus = corpus_with_gaps(tmp_path / "far", highest=65_601)
    index, tokens = some_of(corpus)
    (tmp_path / "order").mkdir()
    write_in_order(tmp_path / "order", corpus, index, np.arange(len(index)))
    stream = np.load(tmp_path / "order" / "tokens.npy")
    assert stream.tolist() == [token for ids in tokens.values() for token in ids]
    assert stream.max() == 65_601
    assert stream.dtype == np.uint32


@pytest.mark.parametrize("strange", [600, 70_000, -1])
def test_an_id_beyond_the_tokenizer_is_refused_before_it_is_written(tmp_path: Path, strange: int) -> None:
    corpus = make_corpus(tmp_path / "corpus")
    index, _ = some_of(corpus)
    file = sorted((corpus / "train").glob("*.parquet"))[1]
    rows = pq.read_table(file).to_pylist()
    rows[0]["input_ids"][2] = strange
    pq.write_table(pa.Table.from_pylist(rows, schema=pq.read_schema(file)), file)
    message = (
        rf"{file.name} has the token id {strange:,}, and the ids of its tokenizer end at 599: .*Prepare the corpus"
    )
    with pytest.raises(StageError, match=message):
        write_in_order(tmp_path, corpus, index, np.arange(len(index)))
