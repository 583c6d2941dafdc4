"""Held-out sequences: all of them, without a target set, and a sample that depends on nothing else."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from sweep_example import corpus as make_corpus
from sweep_example import read

from qurating.artifacts.files import write_table
from qurating.models.heldout import HeldOut, read_heldout
from qurating.runtime.errors import StageError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_corpus(tmp_path_factory.mktemp("heldout") / "corpus")


def documents(found: HeldOut) -> set[str]:
    return set(found.rows["document_id"].to_pylist())


def test_all_sequences_in_corpus_order(corpus: Path) -> None:
    found, table = read_heldout(corpus), read(corpus, "heldout")
    assert found.rows["id"].to_pylist() == table["id"].to_pylist()
    for n in (0, 5, len(table) - 1):
        assert found.input_ids[found.starts[n] : found.starts[n + 1]].tolist() == table["input_ids"][n].as_py()
    assert found.rows["num_tokens"].to_pylist() == np.diff(found.starts).tolist()
    assert found.rows["num_bytes"].to_pylist() == [len(text.encode()) for text in table["text"].to_pylist()]
    assert found.num_excluded == 0


def test_a_sample_fills_its_tokens_and_a_smaller_one_is_a_part_of_it(corpus: Path) -> None:
    table = read(corpus, "heldout")
    size = dict(zip(table["id"].to_pylist(), table["length"].to_pylist(), strict=True))
    total, longest, before = sum(size.values()), max(size.values()), set[int]()
    for max_tokens in (1, total // 7, total // 2, total, 10 * total):
        found = read_heldout(corpus, max_tokens=max_tokens)
        chosen = set(found.rows["id"].to_pylist())
        assert len(found.input_ids) == sum(size[name] for name in chosen)
        assert len(chosen) == 1 or min(total, max_tokens) - longest < len(found.input_ids) <= max_tokens
        assert before <= chosen
        before = chosen
    assert before == set(size)  # all of them, where there is room


def test_a_sample_has_text_of_every_kind_however_long_a_document_is(tmp_path: Path) -> None:
    rows = [{"id": n, "document_id": f"d{min(n, 40)}", "domain": "short" if n < 40 else "long"} for n in range(1, 400)]
    columns = {"length": pa.array([10] * len(rows), pa.int32()), "input_ids": [[1] * 10] * len(rows)}
    table = pa.Table.from_pylist(rows).append_column("text", pa.array(["text"] * len(rows)))
    for name, values in columns.items():
        table = table.append_column(name, pa.array(values) if isinstance(values, list) else values)
    write_table(tmp_path / "heldout/00000.parquet", table)
    found = read_heldout(tmp_path, max_tokens=1000)
    assert len(found.input_ids) == 1000
    assert 80 <= found.rows["domain"].to_pylist().count("long") <= 99  # 90 % of the text are one document


def test_a_sample_does_not_depend_on_shards_or_their_order(corpus: Path, tmp_path: Path) -> None:
    table = read(corpus, "heldout")
    backwards = table.take(pa.array(range(len(table) - 1, -1, -1)))
    write_table(tmp_path / "heldout/00000.parquet", backwards.slice(0, 50))
    write_table(tmp_path / "heldout/00001.parquet", backwards.slice(50))
    chosen = set(read_heldout(corpus, max_tokens=3000).rows["id"].to_pylist())
    assert 1 < len(chosen) < len(table)
    assert set(read_heldout(tmp_path, max_tokens=3000).rows["id"].to_pylist()) == chosen


def test_documents_of_a_target_set_are_not_read_and_do_not_change_the_sample(corpus: Path, tmp_path: Path) -> None:
    chosen = documents(read_heldout(corpus, max_tokens=3000))
    first = sorted(chosen)[0]
    write_table(tmp_path / "target.parquet", pa.table({"document_id": [first, first, "elsewhere"]}))
    every, some = read_heldout(corpus, [tmp_path]), read_heldout(corpus, [tmp_path], max_tokens=3000)
    assert every.num_excluded == 1
    assert documents(every) == documents(read_heldout(corpus)) - {first}
    assert documents(some) == chosen - {first}
    second = sorted(chosen)[1]
    write_table(tmp_path / "other/target.parquet", pa.table({"document_id": [second, first]}))
    both = read_heldout(corpus, [tmp_path, tmp_path / "other"])
    assert both.num_excluded == 2
    assert documents(both) == documents(read_heldout(corpus)) - {first, second}


def test_no_token_to_predict_is_an_error(corpus: Path, tmp_path: Path) -> None:
    everything = pq.read_table(corpus / "heldout", columns=["document_id"])
    write_table(tmp_path / "target.parquet", everything)
    for max_tokens in (None, 100):
        with pytest.raises(StageError, match="no token to predict"):
            read_heldout(corpus, [tmp_path], max_tokens)
