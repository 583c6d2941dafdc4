"""Readers: their documents, and their errors for invalid rows and files."""

import datetime
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard
from compression_example import COMPRESS, ENDINGS, written

from qurating.corpus.readers import BadRow, Document, Hub, Jsonl, Parquet, TokenTables
from qurating.corpus.records import Column
from qurating.runtime.errors import StageError

ROWS: list[dict[str, Any]] = [
    {"text": f"text {i} of 数据", "meta": {"source": f"domain{i % 2}"}, "key": 100 + i} for i in range(5)
]


def lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


@pytest.mark.parametrize("ending", ENDINGS)
def test_jsonl_plain_and_compressed(tmp_path: Path, ending: str) -> None:
    written(tmp_path / f"web.jsonl{ending}", lines(ROWS), members=2)
    found = list(Jsonl(paths=str(tmp_path / "*")))
    assert found == [Document(f"web.jsonl{ending}:{i + 1}", "web", row["text"]) for i, row in enumerate(ROWS)]


def test_jsonl_fields_and_dotted_fields(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines(ROWS))
    reader = Jsonl(paths=[str(tmp_path / "a.jsonl")], domain_field="meta.source", id_field="key")
    assert [(d.document_id, d.domain) for d in reader] == [(str(100 + i), f"domain{i % 2}") for i in range(5)]
    assert list(reader) == list(reader)


def test_field_with_a_dot_in_its_name_comes_first(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines([{"text": "x", "meta.source": "flat", "meta": {"source": "nested"}}]))
    (document,) = Jsonl(paths=str(tmp_path / "a.jsonl"), domain_field="meta.source")
    assert document.domain == "flat"


def test_zstd_of_several_frames_and_long_lines(tmp_path: Path) -> None:
    rows = [{"text": "long " * 700_000}, {"text": "short"}]
    frames = zstandard.compress(lines(rows[:1])) + zstandard.compress(lines(rows[1:]))
    (tmp_path / "a.zst").write_bytes(frames)
    assert [document.text for document in Jsonl(paths=str(tmp_path / "a.zst"))] == [row["text"] for row in rows]


def test_byte_order_mark_blank_lines_windows_ends_and_no_last_newline(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(b'\xef\xbb\xbf{"text": "a"}\r\n\r\n  \n{"text": "b"}')
    assert [d.document_id for d in Jsonl(paths=str(tmp_path / "a.jsonl"))] == ["a.jsonl:1", "a.jsonl:4"]


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        (b'{"text": "cut', "not JSON"),
        (b'{"text": "caf\xe9"}', "not UTF-8 .* at byte 13"),
        (b'{"content": "x", "url": "y"}', "no field 'text' .*content, url"),
        (b'{"text": null}', "field 'text' holds null"),
        (b'{"text": ["x"]}', "field 'text' holds a value of type list"),
        (b'["x"]', "holds a value of type list, not a record"),
        (b'{"text": "\\ud83d alone"}', "surrogate"),
        (b"{}", "no field 'text'"),
        (b"[" * 100_000, "recursion"),
        (b'{"text": "x", "n": ' + b"9" * 5000 + b"}", "limit"),
    ],
)
def test_bad_line_stops_with_file_and_line_or_is_listed(tmp_path: Path, line: bytes, reason: str) -> None:
    file = tmp_path / "a.jsonl"
    file.write_bytes(lines(ROWS[:2]) + line + b"\n" + lines(ROWS[2:]))
    with pytest.raises(StageError, match=f"a.jsonl, line 3: .*{reason}(.|\n)*on_bad_row=skip"):
        list(Jsonl(paths=str(file)))
    reader = Jsonl(paths=str(file), on_bad_row="skip")
    for _ in range(2):  # a second reading lists it once again, not twice
        assert [document.text for document in reader] == [row["text"] for row in ROWS]
        ((source, number, said),) = reader.bad_rows
        assert (source, number) == (str(file), 3)
        assert said


def test_both_halves_of_a_surrogate_pair_are_a_character(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(rb'{"text": "\ud83c\udf89", "domain": "\u6570"}')
    (document,) = Jsonl(paths=str(tmp_path / "a.jsonl"), domain_field="domain")
    assert (document.text, document.domain) == ("🎉", "数")


@pytest.mark.parametrize("row", [{"text": "x"}, {"text": "x", "meta": None}, {"text": "x", "meta": {"source": ""}}])
def test_row_without_its_domain_is_bad(tmp_path: Path, row: dict[str, Any]) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines([row]))
    with pytest.raises(StageError, match=r"line 1.*meta\.source"):
        list(Jsonl(paths=str(tmp_path / "a.jsonl"), domain_field="meta.source"))


@pytest.mark.parametrize("ending", COMPRESS)
def test_of_a_damaged_file_the_readable_lines_are_kept_if_bad_rows_are_skipped(tmp_path: Path, ending: str) -> None:
    texts = [f"{i} {i * i}" for i in range(30_000)]
    path = written(tmp_path / f"a.jsonl{ending}", lines([{"text": text} for text in texts]), members=3)
    path.write_bytes(path.read_bytes()[:-10])
    written(tmp_path / "b.jsonl", lines([{"text": "of the next file"}]))
    message = r"a\.jsonl\.\w+, line \d+: the file is damaged or cut short here(.|\n)*corpus\.on_bad_row=skip"
    with pytest.raises(StageError, match=message):
        list(Jsonl(paths=str(tmp_path / "*")))
    reader = Jsonl(paths=str(tmp_path / "*"), on_bad_row="skip")
    for _ in range(2):  # a second reading counts it once again, not twice
        *found, last = (document.text for document in reader)
        assert len(found) > 18_000
        assert found == texts[: len(found)]
        assert last == "of the next file"
        ((source, number, reason),) = reader.bad_rows
        assert (source, number) == (str(path), len(found) + 1)
        assert reason.endswith("this line and all after it are lost")
        assert reader.skipped == {"rest of a damaged file": 1}


def test_file_that_is_not_what_its_name_says_stops_whatever_on_bad_row_says(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl.gz").write_bytes(lines(ROWS))
    with pytest.raises(StageError, match="its name says gzip, and its content is none"):
        list(Jsonl(paths=str(tmp_path / "a.jsonl.gz"), on_bad_row="skip"))


@pytest.mark.parametrize("character", ["\u2028", "\u2029", "\x85", "\x0b", "\x0c", "\x1c", "\r"])
def test_only_a_line_feed_ends_a_line(tmp_path: Path, character: str) -> None:
    row = {"text": f"one{character}two"}
    (tmp_path / "a.jsonl").write_text(json.dumps(row, ensure_ascii=False) + "\n", encoding="utf-8", newline="")
    assert [document.text for document in Jsonl(paths=str(tmp_path / "a.jsonl"))] == [row["text"]]


@pytest.mark.parametrize("format", ["jsonl", "parquet"])
def test_ids_that_pandas_made_floats_are_whole_numbers(tmp_path: Path, format: str) -> None:
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"text": ["a", "b", "c"], "key": [1, None, 30]})  # a missing number makes all floats
    if format == "jsonl":
        rows = frame.to_dict("records")
        (tmp_path / "a.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    else:
        frame.to_parquet(tmp_path / "a.parquet")
    kind = Jsonl if format == "jsonl" else Parquet
    with pytest.raises(StageError, match=r"field 'key' holds (NaN, which stands for|null)"):
        list(kind(paths=str(tmp_path / "a.*"), id_field="key"))
    reader = kind(paths=str(tmp_path / "a.*"), id_field="key", on_bad_row="skip")
    assert [document.document_id for document in reader] == ["1", "30"]
    assert len(reader.bad_rows) == 1


def test_pattern_without_a_file_and_folder(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"no file matches .*missing-\*\.jsonl"):
        list(Jsonl(paths=str(tmp_path / "missing-*.jsonl")))
    with pytest.raises(StageError, match="is a folder"):
        list(Jsonl(paths=str(tmp_path)))
    with pytest.raises(StageError, match="'stop' or 'skip'"):
        Jsonl(paths="x", on_bad_row="ignore")


def test_files_come_sorted_once_and_names_tell_them_apart(tmp_path: Path) -> None:
    for name in ("b/part.jsonl", "a/part.jsonl", "a/[x].jsonl"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(lines([{"text": name}]))
    reader = Jsonl(paths=[str(tmp_path / "b/*.jsonl"), str(tmp_path / "**/*.jsonl"), str(tmp_path / "a/[x].jsonl")])
    assert [d.document_id for d in reader] == ["a/[x].jsonl:1", "a/part.jsonl:1", "b/part.jsonl:1"]
    assert [[d.text for d in part] for part in reader.parts()] == [["a/[x].jsonl"], ["a/part.jsonl"], ["b/part.jsonl"]]


def test_parquet_reads_nested_columns_in_order(tmp_path: Path) -> None:
    pq.write_table(pa.Table.from_pylist(ROWS * 200), tmp_path / "web.parquet", row_group_size=300)
    reader = Parquet(paths=str(tmp_path / "web.parquet"), domain_field="meta.source")
    found = list(reader)
    assert [d.text for d in found] == [row["text"] for row in ROWS * 200]
    assert found[999] == Document("web.parquet:999", "domain0", ROWS[4]["text"])
    assert {d.document_id for d in Parquet(paths=str(tmp_path / "web.parquet"), id_field="key")} == {
        str(100 + i) for i in range(5)
    }


def test_fields_that_are_kept_come_with_documents(tmp_path: Path, dataset: str) -> None:
    (tmp_path / "web.jsonl").write_bytes(lines(ROWS))
    pq.write_table(pa.Table.from_pylist(ROWS), tmp_path / "web.parquet")
    for reader in (
        Jsonl(paths=str(tmp_path / "web.jsonl")),
        Parquet(paths=str(tmp_path / "web.parquet")),
        Hub(dataset=dataset, name="web"),
    ):
        plain = list(reader)
        reader.kept = [Column("meta.source"), Column("key", is_number=True), Column("meta.lang")]
        found = list(reader)
        assert [document.columns for document in found] == [(f"domain{i % 2}", 100.0 + i, None) for i in range(5)]
        assert [document[:3] for document in found] == [document[:3] for document in plain]
        assert reader.present == {"meta.source", "key"}
        assert list(reader.absent) == ["meta.lang"]
        assert "looking for 'lang', found the fields source" in reader.absent["meta.lang"]


def test_a_field_that_later_files_have_is_present(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": ["a"]}), tmp_path / "a.parquet")
    pq.write_table(pa.table({"text": ["b"], "lang": pa.array([None], pa.string())}), tmp_path / "b.parquet")
    reader = Parquet(paths=str(tmp_path / "*.parquet"))
    reader.kept = [Column("lang")]
    documents = iter(reader)
    assert next(documents).columns == (None,)
    assert list(reader.absent) == ["lang"]
    assert next(documents).columns == (None,)
    assert (reader.absent, reader.present) == ({}, {"lang"})


def test_a_bad_value_of_a_kept_field_is_a_bad_row(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_bytes(lines([{"text": "x", "n": 1}, {"text": "y", "n": "two"}, {"text": "z", "n": 3}]))
    reader = Jsonl(paths=str(tmp_path / "a.jsonl"))
    reader.kept = [Column("n", is_number=True)]
    with pytest.raises(StageError, match=r"a\.jsonl, line 2: field 'n' holds a value of type str, not a number"):
        list(reader)
    reader.on_bad_row = "skip"
    assert [document.columns for document in reader] == [(1.0,), (3.0,)]
    assert [row.row for row in reader.bad_rows] == [2]


def test_parquet_bad_rows_columns_and_files(tmp_path: Path) -> None:
    binary = pa.array([b"good", b"caf\xe9", None, b"last"], pa.binary())
    text = pa.Array.from_buffers(pa.string(), 4, binary.buffers(), null_count=1)
    pq.write_table(pa.table({"text": text}), tmp_path / "a.parquet")
    with pytest.raises(StageError, match=r"a\.parquet, row 1: not UTF-8"):
        list(Parquet(paths=str(tmp_path / "a.parquet")))
    reader = Parquet(paths=str(tmp_path / "a.parquet"), on_bad_row="skip")
    assert [d.text for d in reader] == ["good", "last"]
    assert [row.row for row in reader.bad_rows] == [1, 2]
    with pytest.raises(StageError, match=r"a\.parquet has no column 'body'; it has text"):
        list(Parquet(paths=str(tmp_path / "a.parquet"), text_field="body", on_bad_row="skip"))
    (tmp_path / "b.parquet").write_bytes(b'{"text": "x"}')
    with pytest.raises(StageError, match=r"b\.parquet cannot be read as Parquet"):
        list(Parquet(paths=str(tmp_path / "b.parquet"), on_bad_row="skip"))


@pytest.mark.parametrize("content", [b"PAR1 but not for long", b""])
def test_of_a_parquet_file_without_its_end_all_is_lost(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "a.parquet").write_bytes(content)
    pq.write_table(pa.table({"text": TEXTS}), tmp_path / "b.parquet")
    with pytest.raises(StageError, match=r"a\.parquet, row 0: the file is damaged(.|\n)*corpus\.on_bad_row=skip"):
        list(Parquet(paths=str(tmp_path / "*.parquet")))
    reader = Parquet(paths=str(tmp_path / "*.parquet"), on_bad_row="skip")
    assert [document.text for document in reader] == TEXTS
    assert [(row.source, row.row) for row in reader.bad_rows] == [(str(tmp_path / "a.parquet"), 0)]
    assert reader.skipped == {"rest of a damaged file": 1}


TEXTS = ["a", "b 🎉"]


@pytest.mark.parametrize(
    "text",
    [
        pa.array(TEXTS, pa.large_string()),
        pa.array(TEXTS, pa.string_view()),
        pa.array(TEXTS).dictionary_encode(),  # what pandas writes for a category
        pa.chunked_array([TEXTS[:1], [], TEXTS[1:]]),
    ],
    ids=["large", "view", "dictionary", "chunks"],
)
@pytest.mark.parametrize("version", ["1.0", "2.0"])
def test_parquet_holds_texts_in_many_ways(tmp_path: Path, text: Any, version: str) -> None:
    table = pa.table({"text": text, "key": pa.array([2**64 - 1, 1], pa.uint64())})
    pq.write_table(table, tmp_path / "a.parquet", data_page_version=version, compression="brotli", row_group_size=1)
    reader = Parquet(paths=str(tmp_path / "a.parquet"), id_field="key")
    assert list(reader) == [Document(str(2**64 - 1), "a", TEXTS[0]), Document("1", "a", TEXTS[1])]


def test_parquet_without_a_row(tmp_path: Path) -> None:
    pq.write_table(pa.table({"text": pa.array([], pa.string())}), tmp_path / "a.parquet")
    assert list(Parquet(paths=str(tmp_path / "a.parquet"))) == []


def test_parquet_column_with_a_dot_in_its_name_comes_first(tmp_path: Path) -> None:
    nested = pa.array([{"source": "nested"}, None])
    flat = pa.table({"text": TEXTS, "meta.source": ["flat", "flat"], "meta": nested})
    pq.write_table(flat, tmp_path / "a.parquet")
    pq.write_table(flat.drop_columns("meta.source"), tmp_path / "b.parquet")
    read = Parquet(paths=str(tmp_path / "a.parquet"), domain_field="meta.source")
    assert [document.domain for document in read] == ["flat", "flat"]
    reader = Parquet(paths=str(tmp_path / "b.parquet"), domain_field="meta.source", on_bad_row="skip")
    assert [document.domain for document in reader] == ["nested"]
    assert [row.reason for row in reader.bad_rows] == ["no field 'meta.source' (looking for 'source', found null)"]


@pytest.mark.parametrize(
    ("values", "kind"),
    [
        (pa.array([b"a", b"b"]), "bytes"),
        (pa.array([["a"], ["b"]]), "list"),
        (pa.array([1, 2]), "int"),
        (pa.array([datetime.date(2020, 1, 1)] * 2), "date"),
    ],
)
def test_parquet_columns_that_hold_no_texts(tmp_path: Path, values: pa.Array, kind: str) -> None:
    pq.write_table(pa.table({"text": values}), tmp_path / "a.parquet")
    with pytest.raises(StageError, match=rf"a\.parquet, row 0: field 'text' holds a value of type {kind}, not text"):
        list(Parquet(paths=str(tmp_path / "a.parquet")))


def test_of_a_damaged_parquet_file_the_readable_rows_are_kept_if_bad_rows_are_skipped(tmp_path: Path) -> None:
    rows = [{"text": f"text {i} {i * i}"} for i in range(1000)]
    file = tmp_path / "a.parquet"
    pq.write_table(pa.Table.from_pylist(rows), file, row_group_size=300)
    content = bytearray(file.read_bytes())
    start = pq.read_metadata(file).row_group(2).column(0).dictionary_page_offset
    content[start : start + 400] = b"\xff" * 400
    file.write_bytes(content)
    with pytest.raises(StageError, match=r"a\.parquet, row \d+: the file is damaged or cut short here"):
        list(Parquet(paths=str(file)))
    reader = Parquet(paths=str(file), on_bad_row="skip")
    found = [document.text for document in reader]
    assert found == [row["text"] for row in rows[: len(found)]]
    assert 500 <= len(found) <= 600
    ((_, number, reason),) = reader.bad_rows
    assert number == len(found)
    assert reason.endswith("this row and all after it are lost")
    assert reader.skipped == {"rest of a damaged file": 1}


@pytest.fixture
def dataset(tmp_path: Path) -> str:
    """A folder that `load_dataset` takes as it takes a name of the Hub."""
    folder = tmp_path / "dataset"
    folder.mkdir()
    (folder / "train-1.jsonl").write_bytes(lines(ROWS[:3]))
    (folder / "train-2.jsonl").write_bytes(lines(ROWS[3:]))
    return str(folder)


def test_hub_streams_documents(dataset: str) -> None:
    reader = Hub(dataset=dataset, name="web", domain_field="meta.source")
    assert list(reader) == [Document(f"web:{i}", f"domain{i % 2}", row["text"]) for i, row in enumerate(ROWS)]
    assert list(reader) == list(reader)
    few = Hub(dataset=dataset, name="web", id_field="key", max_documents=2)
    assert list(few) == [Document(str(100 + i), "web", ROWS[i]["text"]) for i in range(2)]
    files = Hub(dataset="json", name="web", data_files=[f"{dataset}/train-2.jsonl"])
    assert [d.text for d in files] == [row["text"] for row in ROWS[3:]]


def test_hub_keeps_the_domains_that_are_named(dataset: str) -> None:
    reader = Hub(dataset=dataset, name="web", domain_field="meta.source", keep_domains=["domain1"])
    odd = [Document(f"web:{i}", "domain1", row["text"]) for i, row in enumerate(ROWS) if i % 2]
    assert list(reader) == odd
    assert reader.skipped == {"of another domain": len(ROWS) - len(odd)}
    reader.max_documents = 1  # of those that are kept
    assert list(reader) == odd[:1]


def test_hub_missing_field_and_bad_rows(dataset: str) -> None:
    with pytest.raises(StageError, match=r"row 0: no field 'body' .*text, meta, key"):
        list(Hub(dataset=dataset, name="web", text_field="body"))
    Path(dataset, "train-2.jsonl").write_bytes(lines([{"text": None, "meta": None, "key": 7}, ROWS[4]]))
    reader = Hub(dataset=dataset, name="web", on_bad_row="skip")
    assert len(list(reader)) == 4
    assert reader.bad_rows == [BadRow(dataset, 3, "field 'text' holds null, not text")]


def test_hub_unknown_split_and_damaged_file(dataset: str) -> None:
    with pytest.raises(StageError, match=r"split 'test'.*cannot be read: (.|\n)*see https"):
        list(Hub(dataset=dataset, name="web", split="test"))
    Path(dataset, "train-2.jsonl").write_bytes(b'{"text": "x"\n{"tex')
    with pytest.raises(StageError, match="cannot be read"):
        list(Hub(dataset=dataset, name="web"))


@pytest.mark.parametrize("has_token", [True, False])
def test_hub_without_access_names_page_and_variable(monkeypatch: pytest.MonkeyPatch, has_token: bool) -> None:
    import datasets
    from datasets.exceptions import DatasetNotFoundError

    given: dict[str, Any] = {}

    def refuse(*args: Any, **options: Any) -> None:
        given.update(options)
        raise DatasetNotFoundError("Dataset 'lab/secret' is a gated dataset on the Hub.")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    monkeypatch.setenv("MY_TOKEN", "hf_x") if has_token else monkeypatch.delenv("MY_TOKEN", raising=False)
    state = "is set" if has_token else "is not set"
    with pytest.raises(
        StageError, match=rf"huggingface\.co/datasets/lab/secret(.|\n)*MY_TOKEN \(which {state}\)"
    ) as error:
        list(Hub(dataset="lab/secret", name="secret", token_variable="MY_TOKEN"))
    assert "hf_x" not in str(error.value)
    assert given["token"] == ("hf_x" if has_token else None)
    assert given["streaming"]
    assert "trust_remote_code" not in given


def test_hub_that_cannot_be_reached(monkeypatch: pytest.MonkeyPatch) -> None:
    import datasets

    def refuse(*args: Any, **options: Any) -> None:
        raise ConnectionError("Couldn't reach 'lab/web' on the Hub")

    monkeypatch.setattr(datasets, "load_dataset", refuse)
    with pytest.raises(StageError, match=r"Couldn't reach(.|\n)*corpus=jsonl"):
        list(Hub(dataset="lab/web", name="web"))


@pytest.mark.parametrize("kind", [pa.list_(pa.int64()), pa.large_list(pa.int32()), pa.list_(pa.uint16())])
def test_token_tables_give_their_tokens(tmp_path: Path, kind: pa.DataType) -> None:
    ids = [[1, 2, 3], [4], [5, 6]]
    table = {"input_ids": pa.array(ids, kind), "text": ["a", "b", "c"], "source": ["x", "y", "y"], "key": [7, 8, 9]}
    pq.write_table(pa.table(table), tmp_path / "t.parquet", row_group_size=2)
    reader = TokenTables(paths=str(tmp_path / "t.parquet"), domain_field="source", rows_per_read=2)
    reader.kept = [Column("key", is_number=True)]
    documents = list(reader)
    assert [document[:4] for document in documents] == [
        (f"t.parquet:{row}", "xyy"[row], "abc"[row], (7.0 + row,)) for row in range(3)
    ]
    for document, own in zip(documents, ids, strict=True):
        assert document.input_ids is not None
        assert (document.input_ids.tolist(), document.input_ids.dtype) == (own, np.int32)
    reader.text_field = None
    assert [(document.text, document.domain) for document in reader] == [("", "x"), ("", "y"), ("", "y")]
    pq.write_table(pa.table(table).drop_columns(["text"]), tmp_path / "t.parquet")
    assert len(list(reader)) == 3


def test_token_tables_without_tokens(tmp_path: Path) -> None:
    def read(tokens: pa.Array, **changes: Any) -> TokenTables:
        pq.write_table(pa.table({"input_ids": tokens, "text": ["a", "b"]}), tmp_path / "t.parquet")
        return TokenTables(paths=str(tmp_path / "t.parquet"), **changes)

    for tokens, reason in (
        (pa.array([[1], []], pa.list_(pa.int32())), "holds no token ids"),
        (pa.array([[1], None], pa.list_(pa.int32())), "holds no token ids"),
        (pa.array([[1], [2**40]], pa.list_(pa.int64())), r"holds \d+ to \d+: no token ids"),
        (pa.array([[1], [-1]], pa.list_(pa.int64())), "holds -1 to -1: no token ids"),
    ):
        with pytest.raises(StageError, match=rf"t\.parquet, row 1: field 'input_ids' {reason}"):
            list(read(tokens))
        kept = read(tokens, on_bad_row="skip")
        assert [document.text for document in kept] == ["a"]
        assert [row.row for row in kept.bad_rows] == [1]
    with pytest.raises(StageError, match="input_ids holds string, not lists of token ids"):
        list(read(pa.array(["x", "y"])))
    with pytest.raises(StageError, match="has no column 'tokens'; it has input_ids, text"):
        list(read(pa.array([[1], [2]]), tokens_field="tokens"))
