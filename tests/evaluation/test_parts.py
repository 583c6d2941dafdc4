"""Parts of the held-out text: by domain, by files of ids, by both; and what is wrong with them."""

import gzip
import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from qurating.artifacts.files import write_table
from qurating.evaluation.parts import (
    Part,
    check,
    chosen,
    document_ids,
    evaluated,
    measured,
    missing_documents,
    named_parts,
    part,
)
from qurating.runtime.errors import StageError

ROWS = pa.table(
    {
        "document_id": ["a", "a", "b", "c", "d"],
        "domain": ["prose", "prose", "code", "prose", "tables"],
        "num_tokens": [3, 2, 4, 1, 0],
    }
)


def test_the_forms_of_files_give_the_same_ids(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", pa.table({"document_id": ["x", "7"], "id": ["other", "others"]}))
    write_table(tmp_path / "b.parquet", pa.table({"id": pa.array([7, 8])}))
    (tmp_path / "c.jsonl").write_bytes(b'\xef\xbb\xbf{"document_id": "x"}\r\n\n{"id": 7}\n')
    (tmp_path / "d.txt").write_bytes(b"\xef\xbb\xbfx\r\n\n 7 \n")
    (tmp_path / "e.txt.gz").write_bytes(gzip.compress(b"x\n7"))
    assert document_ids(str(tmp_path / "b.parquet")) == {"7", "8"}
    for name in ("a.parquet", "c.jsonl", "d.txt", "e.txt.gz"):
        assert document_ids(str(tmp_path / name)) == {"x", "7"}
    assert document_ids(str(tmp_path / "[bd].*")) == {"x", "7", "8"}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.jsonl", '{"document_id": "x"}\n{"name": 1}\n', "a.jsonl, line 2: no field 'document_id'"),
        ("a.jsonl", '{"document_id": "x"}\n{"docu', "a.jsonl, line 2: not JSON"),
        ("a.txt", "\n\n", "a.txt has no id of a document"),
        ("a.parquet", "no table", "a.parquet cannot be read as Parquet"),
    ],
)
def test_a_file_without_ids_is_named(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(StageError, match=message):
        document_ids(str(tmp_path / name))


def test_ids_that_are_not_utf_8_are_named_by_their_line(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_bytes("x\ncafé\n".encode("latin-1"))
    with pytest.raises(StageError, match=r"a\.txt, line 2: not UTF-8"):
        document_ids(str(tmp_path / "a.txt"))


def test_a_table_without_ids_lists_its_columns(tmp_path: Path) -> None:
    write_table(tmp_path / "a.parquet", pa.table({"name": ["x"], "text": ["y"]}))
    with pytest.raises(StageError, match="no column document_id or id; its columns are name, text"):
        document_ids(str(tmp_path / "a.parquet"))


def test_a_sequence_must_have_domain_and_document() -> None:
    def rows(**given: Any) -> list[bool]:
        return [*chosen(ROWS, Part("evaluation", **given), Path("corpus"))]

    assert rows() == [True] * 5
    assert rows(domains=frozenset({"prose"})) == [True, True, False, True, False]
    assert rows(documents=frozenset({"a", "b", "elsewhere"})) == [True, True, True, False, False]
    both = {"domains": frozenset({"prose"}), "documents": frozenset({"b", "c"})}
    assert rows(**both) == [False, False, False, True, False]
    assert missing_documents(ROWS, Part("evaluation", documents=frozenset({"a", "elsewhere"}))) == 1
    assert missing_documents(ROWS, Part("evaluation", domains=frozenset({"prose"}))) == 0


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"domains": {"pros"}}, r"evaluation\.domains: corpus holds out no 'pros', but prose"),
        ({"domains": {"tables"}}, "evaluation names no held-out text"),  # its sequence has no token
        ({"documents": {"elsewhere"}}, "evaluation names no held-out text"),
    ],
)
def test_a_part_without_text_is_an_error(given: dict[str, set[str]], message: str) -> None:
    with pytest.raises(StageError, match=message):
        chosen(ROWS, Part("evaluation", **{key: frozenset(value) for key, value in given.items()}), Path("corpus"))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"domains": None, "documents": None}, "restricts nothing"),
        ({}, "must have domains, documents, or both"),
        ({"domain": ["prose"]}, "must have domains, documents, or both"),
        ({"domains": "prose"}, "must be a list of domains"),
        ({"domains": []}, "must be a list of domains"),
        ({"documents": "no-such-file.txt"}, "no file matches no-such-file.txt"),
    ],
)
def test_settings_that_make_no_part_are_refused(given: dict[str, Any], message: str) -> None:
    with pytest.raises(StageError, match=message):
        named_parts("evaluation.sets", {"mine": given})


def test_a_corpus_is_checked_before_the_training(tmp_path: Path) -> None:
    write_table(tmp_path / "heldout/0.parquet", ROWS.rename_columns(["document_id", "domain", "length"]))
    check(tmp_path, ["prose"], None, {"mine": {"domains": ["prose"]}})
    with pytest.raises(StageError, match=r"evaluation\.sets\.mine\.domains: .* holds out no 'code'"):
        check(tmp_path, ["prose"], None, {"mine": {"domains": ["code"]}})  # a part of what is left


def test_nothing_given_is_everything() -> None:
    assert part("evaluation", None, None).is_everything


def test_an_evaluation_says_what_belongs_to_its_parts(tmp_path: Path) -> None:
    sets = [["mine"], [], ["mine"], [], []]
    write_table(tmp_path / "sequences.parquet", ROWS.append_column("sets", pa.array(sets, pa.list_(pa.string()))))
    found = {name: evaluated(tmp_path, name)["document_id"].to_pylist() for name in ("", "mine", "prose", "neither")}
    assert found == {"": ["a", "a", "b", "c", "d"], "mine": ["a", "b"], "prose": ["a", "a", "c"], "neither": []}
    write_table(tmp_path / "sequences.parquet", ROWS)  # without sets
    assert evaluated(tmp_path, "code")["document_id"].to_pylist() == ["b"]


def test_a_part_that_was_not_measured_is_refused_with_near_names() -> None:
    metrics = {"overall": {"nats_per_token": 3.0}, "domains": {"prose": {"nats_per_token": 2.0}}, "sets": {"mine": {}}}
    assert measured(metrics, "") == {"nats_per_token": 3.0}
    assert measured(metrics, "prose") == {"nats_per_token": 2.0}
    with pytest.raises(StageError, match=json.dumps("proes").replace('"', "'") + ", but prose"):
        measured(metrics, "proes")
