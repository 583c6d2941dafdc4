"""The stage prepare_corpus on small corpora: complete, repeatable, resumable, and clear about what it skipped."""

import dataclasses
import hashlib
import inspect
import json
import os
import random
import signal
import subprocess
import sys
import textwrap
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from compression_example import written
from hydra import compose, initialize_config_dir
from hydra.utils import instantiate
from omegaconf import OmegaConf
from repository import ROOT
from token_tables import LENGTH, TEXTS, released_tables, tokenizer_of
from tqdm import tqdm
from transformers import AutoTokenizer

from qurating.artifacts.files import row_files
from qurating.corpus import tokenizing
from qurating.corpus.embedded import Embedded
from qurating.corpus.readers import Document, Jsonl, Parquet, Reader, TokenTables
from qurating.corpus.sequence_ids import sequence_id
from qurating.pipeline import resolvers
from qurating.runtime.errors import StageError
from qurating.stages import prepare_corpus as module
from qurating.stages.prepare_corpus import SCHEMA, heldout, prepare_corpus

WORDS = [
    "select",
    "data",
    "数据",
    "🎉",
    "language",
    "model",
    "rating",
    "pair",
    "judge",
    "token",
    "the",
    "of",
    "and",
    "a\n",
]
SETTINGS: dict[str, Any] = {
    "sequence_length": 16,
    "heldout_fraction": 0.2,
    "tokenizer": None,
    "vocabulary_size": 300,
    "max_characters_for_tokenizer": 10_000,
    "documents_per_shard": 7,
    "max_characters_per_shard": 100_000,
    "seed": 3,
    "num_workers": 0,
}


def write_corpus(folder: Path, num_documents: int = 60) -> list[dict[str, str]]:
    """Two files, two domains; returns the rows."""
    draw = random.Random(0)
    rows = [
        {"id": f"doc-{i}", "text": " ".join(draw.choices(WORDS, k=draw.randint(1, 80))) + f" {i}"}
        for i in range(num_documents)
    ]
    half = num_documents // 2
    for name, part in (("books", rows[:half]), ("web", rows[half:])):
        (folder / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in part), encoding="utf-8")
    return rows


def prepare(folder: Path, output: str = "out", **changes: Any) -> dict[str, Any]:
    reader = changes.pop("reader", None) or Jsonl(paths=str(folder / "*.jsonl"), id_field="id")
    (folder / output).mkdir(exist_ok=True)
    return prepare_corpus(output=folder / output, reader=reader, **{**SETTINGS, **changes})


def rows_of(folder: Path, split: str) -> list[dict[str, Any]]:
    return [row for file in row_files(folder / split) for row in pq.read_table(file).to_pylist()]


def contents(folder: Path) -> dict[str, str]:
    files = [file for file in folder.rglob("*") if file.is_file()]
    return {file.relative_to(folder).as_posix(): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}


def test_every_document_is_there_whole_and_in_one_split(tmp_path: Path) -> None:
    source = write_corpus(tmp_path)
    counts = prepare(tmp_path)
    texts: dict[str, str] = defaultdict(str)
    splits: dict[str, set[str]] = defaultdict(set)
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "out/tokenizer")
    tokens: dict[str, list[int]] = defaultdict(list)
    for split in ("train", "heldout"):
        for row in rows_of(tmp_path / "out", split):
            name = row["document_id"]
            assert row["position"] * 16 == len(tokens[name])
            assert row["length"] == len(row["input_ids"]) <= 16
            assert row["id"] == sequence_id(name, row["position"])
            assert row["domain"] == ("books" if int(name[4:]) < 30 else "web")
            texts[name] += row["text"]
            tokens[name] += row["input_ids"]
            splits[name].add(split)
            assert heldout(name, 0.2, 3) == (split == "heldout")
    assert texts == {row["id"]: row["text"] for row in source}
    assert all(len(found) == 1 for found in splits.values())
    for row in source:
        whole = tokenizer(row["text"])["input_ids"]
        end = [tokenizer.eos_token_id] if len(whole) % 16 else []
        assert tokens[row["id"]] == whole + end
    shard = pq.read_table(row_files(tmp_path / "out/train")[0])
    assert shard.schema.equals(SCHEMA)
    train = rows_of(tmp_path / "out", "train")
    assert counts["documents"] + counts["heldout_documents"] == 60
    assert counts["sequences"] == len(train)
    assert counts["tokens"] == sum(row["length"] for row in train) == sum(counts["tokens_by_domain"].values())
    assert counts["heldout_tokens"] == sum(row["length"] for row in rows_of(tmp_path / "out", "heldout"))
    assert set(counts["tokens_by_domain"]) == {"books", "web"}
    assert not list((tmp_path / "out").glob(".*"))


def test_result_does_not_depend_on_workers(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    assert prepare(tmp_path, "alone") == prepare(tmp_path, "together", num_workers=2)
    assert contents(tmp_path / "alone") == contents(tmp_path / "together")


def test_shards_hold_as_many_documents_as_they_may(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    prepare(tmp_path, heldout_fraction=0)
    by_shard = [set(pq.read_table(f)["document_id"].to_pylist()) for f in row_files(tmp_path / "out/train")]
    assert [len(names) for names in by_shard] == [7] * 8 + [4]
    prepare(tmp_path, "small", heldout_fraction=0, max_characters_per_shard=1)
    assert len(row_files(tmp_path / "small/train")) == 60


@dataclasses.dataclass
class Interrupted(Jsonl):
    """Breaks off after some documents of its second iteration: the first trains the tokenizer."""

    after: int = 0
    iterations: int = 0

    def __iter__(self) -> Iterator[Document]:
        self.iterations += 1
        for number, document in enumerate(super().__iter__()):
            if self.iterations == 2 and number == self.after:
                raise KeyboardInterrupt
            yield document

    def parts(self) -> Sequence[Reader]:  # type: ignore[override]
        return [self]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_interrupted_run_goes_on(tmp_path: Path, num_workers: int, monkeypatch: pytest.MonkeyPatch) -> None:
    write_corpus(tmp_path)
    whole = Interrupted(paths=str(tmp_path / "*.jsonl"), id_field="id", after=10**9)
    counts = prepare(tmp_path, "whole", reader=whole, num_workers=num_workers)
    broken = Interrupted(paths=str(tmp_path / "*.jsonl"), id_field="id", after=40)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path, "broken", reader=broken, num_workers=num_workers)
    done = {file: file.stat().st_mtime_ns for file in row_files(tmp_path / "broken/train")}
    (tmp_path / "broken/train/.00099.parquet.1.tmp").write_bytes(b"half")  # what a killed writer leaves
    assert done
    broken.after = 10**9
    assert prepare(tmp_path, "broken", reader=broken, num_workers=num_workers) == counts
    assert contents(tmp_path / "broken") == contents(tmp_path / "whole")
    assert all(file.stat().st_mtime_ns == then for file, then in done.items()), "a finished shard was made again"


def test_killed_run_goes_on(tmp_path: Path) -> None:
    write_corpus(tmp_path, 3000)
    program = tmp_path / "program.py"
    program.write_text(
        textwrap.dedent(
            f"""
            from pathlib import Path
            from qurating.corpus.readers import Jsonl
            from qurating.stages.prepare_corpus import prepare_corpus
            if __name__ == "__main__":
                folder = Path({str(tmp_path)!r})
                reader = Jsonl(paths=str(folder / "*.jsonl"), id_field="id")
                prepare_corpus(output=folder / "killed", reader=reader, **{ {**SETTINGS, "num_workers": 2}!r})
            """
        )
    )
    (tmp_path / "killed").mkdir()
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen([sys.executable, str(program)], env=environment, start_new_session=True)
    deadline = time.monotonic() + 600
    while len(list((tmp_path / "killed").glob("train/*.parquet"))) < 20 and process.poll() is None:
        assert time.monotonic() < deadline
        time.sleep(0.002)
    os.killpg(process.pid, signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL, "it had ended before it could be killed"
    counts = prepare(tmp_path, "killed")
    assert counts == prepare(tmp_path, "whole")
    assert contents(tmp_path / "killed") == contents(tmp_path / "whole")


def test_corpus_that_changed_since_it_was_begun_is_refused(tmp_path: Path) -> None:
    rows = write_corpus(tmp_path)
    broken = Interrupted(paths=str(tmp_path / "*.jsonl"), id_field="id", after=40)
    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path, reader=broken)
    (tmp_path / "books.jsonl").write_text(json.dumps({**rows[0], "text": "something else"}) + "\n")
    with pytest.raises(StageError, match=r"has changed since .*out was begun: delete .*out"):
        prepare(tmp_path)


def with_fields(folder: Path, fields: Sequence[dict[str, Any]]) -> None:
    """The rows of `write_corpus` with further fields, those of `fields` in turn."""
    rows = write_corpus(folder)
    for name, part in (("books", rows[:30]), ("web", rows[30:])):
        lines = [json.dumps(row | fields[place % len(fields)]) + "\n" for place, row in enumerate(part)]
        (folder / f"{name}.jsonl").write_text("".join(lines), encoding="utf-8")


def test_columns_come_along_to_every_sequence_of_their_document(tmp_path: Path) -> None:
    with_fields(tmp_path, [{"meta": {"lang": "de", "score": 2}}, {"meta": {"lang": None, "score": 0.5}}, {}])
    plain = prepare(tmp_path, "plain")
    counts = prepare(tmp_path, keep_columns=["meta.lang", "meta.score:number"])
    documents = {split: {row["document_id"] for row in rows_of(tmp_path / "out", split)} for split in module.SPLITS}
    assert counts.pop("documents_without") == {"meta.lang": 40, "meta.score": 20}
    assert counts == plain
    assert sum(map(len, documents.values())) == 60
    expected = [("de", 2.0), (None, 0.5), (None, None)]
    for split in module.SPLITS:
        for file, alone in zip(row_files(tmp_path / "out" / split), row_files(tmp_path / "plain" / split), strict=True):
            table = pq.read_table(file)
            kept = [("meta.lang", pa.string()), ("meta.score", pa.float64())]
            assert table.schema.equals(pa.schema([*SCHEMA, *kept]))
            assert table.select(SCHEMA.names).equals(pq.read_table(alone))
            for row in table.to_pylist():
                assert (row["meta.lang"], row["meta.score"]) == expected[int(row["document_id"][4:]) % 30 % 3]


def test_no_columns_are_the_same_bytes_as_before_there_were_any(tmp_path: Path) -> None:
    """The digest of a batch, and so the shards of a build that was begun before, stay what they were."""
    write_corpus(tmp_path)
    batch, *_ = module._batches(
        Jsonl(paths=str(tmp_path / "*.jsonl"), id_field="id"), 7, 10**5, tmp_path / "b", Counter()
    )
    digest = hashlib.blake2b(digest_size=16)
    for document in batch.documents:
        digest.update(f"{document.document_id}\0{document.domain}\0{document.text}\1".encode())
    assert batch.digest == digest.hexdigest()
    prepare(tmp_path, "absent")
    prepare(tmp_path, "none", keep_columns=[])
    assert contents(tmp_path / "absent") == contents(tmp_path / "none")


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        (
            ["meta.long"],
            r"no field 'meta.long' .looking for 'long', found the fields lang. in the first shard.*meta.long\?",
        ),
        (["meta.long?"], r"no field 'meta.long' .* in any document. Correct the name$"),
        (["late"], r"no field 'late' .* in the first shard"),
        (["meta"], r"field 'meta' holds a value of type dict; .*meta.lang"),
        (["domain"], "every corpus has a column 'domain'"),
    ],
)
def test_a_field_that_is_no_column_is_refused(tmp_path: Path, columns: list[str], message: str) -> None:
    with_fields(tmp_path, [{"meta": {"lang": "de"}}])
    with open(tmp_path / "web.jsonl", "a", encoding="utf-8") as file:
        file.write('{"id": "last", "text": "at last", "late": "1"}\n')
    with pytest.raises(StageError, match=message):
        prepare(tmp_path, keep_columns=columns)


def test_an_optional_field_may_be_late(tmp_path: Path) -> None:
    with_fields(tmp_path, [{}])
    with open(tmp_path / "web.jsonl", "a", encoding="utf-8") as file:
        file.write('{"id": "last", "text": "at last", "late": "1"}\n')
    assert prepare(tmp_path, keep_columns=["late?"])["documents_without"] == {"late": 60}


def test_a_reader_without_fields_keeps_none(tmp_path: Path) -> None:
    with pytest.raises(StageError, match="the documents of Embedded have no fields to keep"):
        prepare(tmp_path, reader=Embedded(), keep_columns=["lang"])


def test_columns_that_changed_since_a_build_was_begun_are_refused(tmp_path: Path) -> None:
    with_fields(tmp_path, [{"lang": "de", "url": "a"}])

    def broken() -> Interrupted:
        return Interrupted(paths=str(tmp_path / "*.jsonl"), id_field="id", after=40)

    with pytest.raises(KeyboardInterrupt):
        prepare(tmp_path, reader=broken(), keep_columns=["lang"])
    with pytest.raises(StageError, match="has changed since"):
        prepare(tmp_path, keep_columns=["url"])
    with pytest.raises(StageError, match="has changed since"):
        prepare(tmp_path)
    counts = prepare(tmp_path, keep_columns=["lang"])
    assert counts == prepare(tmp_path, "whole", keep_columns=["lang"])
    assert contents(tmp_path / "out") == contents(tmp_path / "whole")


def test_worker_that_is_killed_is_told(tmp_path: Path) -> None:
    from qurating.runtime.workers import in_workers

    with pytest.raises(StageError, match=r"worker process was killed.*num_workers"):
        list(in_workers(os._exit, [9], 2))


def test_bad_rows_and_empty_documents_are_counted_and_listed(tmp_path: Path) -> None:
    rows = write_corpus(tmp_path)
    with open(tmp_path / "web.jsonl", "ab") as file:
        file.write(b'{"text": "cut\n{"id": "e1", "text": ""}\n{"id": "e2", "text": " \\n "}\n{"text": "caf\xe9"}\n')
    with pytest.raises(StageError, match=r"web\.jsonl, line 31: not JSON"):
        prepare(tmp_path, "stopped")
    counts = prepare(tmp_path, reader=Jsonl(paths=str(tmp_path / "*.jsonl"), id_field="id", on_bad_row="skip"))
    assert counts["bad_rows"] == 2
    assert counts["skipped"] == {"empty": 2}
    assert counts["documents"] + counts["heldout_documents"] == len(rows)
    listed = [json.loads(line) for line in (tmp_path / "out/bad_rows.jsonl").read_text().splitlines()]
    assert [(Path(row["source"]).name, row["row"]) for row in listed] == [("web.jsonl", 31), ("web.jsonl", 34)]


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_the_bar_of_the_tokenizer_ends_at_what_it_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, ending: str
) -> None:
    rows = [{"id": f"doc-{i}", "text": f"text {i} {i * i}"} for i in range(300)]
    written(tmp_path / f"web.jsonl{ending}", "".join(json.dumps(row) + "\n" for row in rows).encode())
    reader = Jsonl(paths=str(tmp_path / f"web.jsonl{ending}"), id_field="id")
    bars: list[tuple[tqdm, int | None]] = []

    def watched(**options: Any) -> tqdm:
        bars.append((tqdm(**options), options["total"]))
        return bars[-1][0]

    monkeypatch.setattr(module, "tqdm", watched)
    for cap in (100_000_000, 1000):
        *_, last = module._sample(reader, cap, lambda _: False)
        assert last
    (bar, begun), (capped, begun_capped) = bars
    assert bar.n == bar.total == sum(len(row["text"]) for row in rows)
    assert capped.n == capped.total == 1000
    if ending:
        assert begun is begun_capped is None
    else:
        assert begun is not None
        assert bar.total < begun < 4 * bar.total
        assert begun_capped == 1000


def test_domains_are_names_and_nothing_else(tmp_path: Path) -> None:
    domains = ["../../x", "/tmp/x", "a/b", "**", "$(x)", "a\nb", "数据", "x" * 400, "tokens", "."]
    rows = [{"text": f"text {i}", "domain": domains[i % len(domains)]} for i in range(200)]
    written(tmp_path / "a.jsonl", "".join(json.dumps(row) + "\n" for row in rows).encode())
    counts = prepare(tmp_path, reader=Jsonl(paths=str(tmp_path / "a.jsonl"), domain_field="domain"))
    assert sorted(counts["tokens_by_domain"]) == sorted(domains)
    assert sum(counts["tokens_by_domain"].values()) == counts["tokens"]
    assert {row["domain"] for row in rows_of(tmp_path / "out", "train")} == set(domains)
    assert sorted(file.name for file in (tmp_path / "out").iterdir()) == ["heldout", "tokenizer", "train"]
    assert sorted(file.name for file in tmp_path.iterdir()) == ["a.jsonl", "out"]


def test_of_a_damaged_file_the_rest_is_counted_as_lost(tmp_path: Path) -> None:
    rows = [{"id": f"doc-{i}", "text": f"text {i} {i * i}"} for i in range(2000)]
    file = written(tmp_path / "web.jsonl.gz", "".join(json.dumps(row) + "\n" for row in rows).encode())
    file.write_bytes(file.read_bytes()[:-2000])
    with pytest.raises(StageError, match=r"web\.jsonl\.gz, line \d+: .*\n.*corpus\.on_bad_row=skip"):
        prepare(tmp_path, "stop", reader=Jsonl(paths=str(file), id_field="id"))
    counts = prepare(tmp_path, reader=Jsonl(paths=str(file), id_field="id", on_bad_row="skip"), documents_per_shard=500)
    (listed,) = map(json.loads, (tmp_path / "out/bad_rows.jsonl").read_text().splitlines())
    assert counts["documents"] + counts["heldout_documents"] == listed["row"] - 1 > 1000
    assert (counts["bad_rows"], counts["skipped"]) == (1, {"rest of a damaged file": 1})


@pytest.mark.parametrize("content", ["", "\n\n", '{"id": "a", "text": "  "}\n'])
def test_empty_corpus_is_refused(tmp_path: Path, content: str) -> None:
    (tmp_path / "a.jsonl").write_text(content)
    with pytest.raises(StageError, match="the corpus is empty"):
        prepare(tmp_path)


def test_duplicate_ids_are_refused_by_name(tmp_path: Path) -> None:
    rows = write_corpus(tmp_path)
    with open(tmp_path / "web.jsonl", "a") as file:
        file.write(json.dumps({"id": rows[2]["id"], "text": "another"}) + "\n")
    with pytest.raises(StageError, match="two documents have the id 'doc-2'"):
        prepare(tmp_path)


def test_split_without_a_document_is_refused(tmp_path: Path) -> None:
    (tmp_path / "a.jsonl").write_text('{"id": "only", "text": "one document is all there is"}\n')
    with pytest.raises(StageError, match=r"no document of 1 falls into the heldout split .*raise it"):
        prepare(tmp_path, "a", heldout_fraction=1e-9)
    with pytest.raises(StageError, match=r"no document of 1 falls into the train split .*lower it"):
        prepare(tmp_path, "b", heldout_fraction=1 - 1e-9)
    assert prepare(tmp_path, "c", heldout_fraction=0)["documents"] == 1
    with pytest.raises(StageError, match=r"heldout_fraction is 1\.5"):
        prepare(tmp_path, "d", heldout_fraction=1.5)
    with pytest.raises(StageError, match="sequence_length is 1"):
        prepare(tmp_path, "e", sequence_length=1)


def test_domain_of_one_document_is_named(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    names = ("lonely-a", "lonely-b", "lonely-c", "lonely-d", "lonely-e", "lonely-f")
    for name in names:
        (tmp_path / f"{name}.jsonl").write_text(json.dumps({"id": name, "text": "one of its kind"}) + "\n")
    counts = prepare(tmp_path)
    assert counts["domains_without_heldout"] == [name for name in names if not heldout(name, 0.2, 3)]
    assert counts["domains_only_heldout"] == [name for name in names if heldout(name, 0.2, 3)]


def test_heldout_does_not_depend_on_other_documents_and_has_its_share() -> None:
    names = [f"document {i}" for i in range(20_000)]
    share = sum(heldout(name, 0.05, 0) for name in names) / len(names)
    assert abs(share - 0.05) < 0.006
    assert all(heldout(name, 0.1, 0) for name in names if heldout(name, 0.05, 0))
    assert [heldout(name, 0.5, 0) for name in names] != [heldout(name, 0.5, 1) for name in names]


def test_tokenizer_is_trained_on_training_documents_of_every_file(tmp_path: Path) -> None:
    for name, word in (("a", "aardvark"), ("b", "buffalo"), ("c", "capybara")):
        rows = [{"id": f"{name}{i}", "text": f"{word} " * 50} for i in range(50)]
        (tmp_path / f"{name}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    secret = next(f"secret{i}" for i in range(1000) if heldout(f"secret{i}", 0.2, 3))
    (tmp_path / "d.jsonl").write_text(json.dumps({"id": secret, "text": "zebra " * 500}) + "\n")
    prepare(tmp_path, max_characters_for_tokenizer=8000)
    vocabulary = AutoTokenizer.from_pretrained(tmp_path / "out/tokenizer").get_vocab()
    assert {"Ġaardvark", "Ġbuffalo", "Ġcapybara"} <= set(vocabulary)
    assert "Ġzebra" not in vocabulary


def test_foreign_tokenizer_and_parquet(tmp_path: Path) -> None:
    write_corpus(tmp_path)
    prepare(tmp_path, "first")
    table = pq.read_table(row_files(tmp_path / "first/train")[0])
    pq.write_table(table.filter(table["position"].combine_chunks().is_valid()), tmp_path / "again.parquet")
    reader = Parquet(paths=str(tmp_path / "again.parquet"), id_field="id", domain_field="domain")
    counts = prepare(tmp_path, "second", reader=reader, tokenizer=str(tmp_path / "first/tokenizer"))
    assert counts["documents"] + counts["heldout_documents"] == table.num_rows
    assert (tmp_path / "second/tokenizer/tokenizer.json").exists()


CHOICES = {
    "embedded": [],
    "jsonl": ["corpus.paths=x/wiki.jsonl.zst"],
    "parquet": ["corpus.paths=[a.parquet,b.parquet]"],
    "hub": ["corpus.dataset=lab/web"],
    "slimpajama": [],
    "redpajama": [],
    "fineweb": [],
}
READERS = {"embedded": "Embedded", "jsonl": "Jsonl", "parquet": "Parquet"}


@pytest.mark.parametrize("choice", CHOICES)
def test_config_makes_the_reader_and_every_argument(choice: str) -> None:
    resolvers.register_resolvers()
    conf = ROOT / "conf"
    with initialize_config_dir(str(conf), version_base="1.3"):
        corpus = compose(f"corpus/{choice}", overrides=CHOICES[choice])
        stage = compose("stage/prepare_corpus")
    parts = [OmegaConf.to_container(part, resolve=False) for part in (corpus, stage)]
    config = OmegaConf.merge({"seed": 0, "num_workers": 1}, *parts)
    settings = instantiate(config.stages.prepare_corpus, _partial_=True).keywords
    assert settings.keys() - {"inputs", "fetches", "runtime"} == inspect.signature(prepare_corpus).parameters.keys() - {
        "output"
    }
    assert type(settings["reader"]).__name__ == READERS.get(choice, "Hub")
    names = {"jsonl": "wiki", "parquet": "a", "hub": "web"}
    assert config.corpus.name == names.get(choice, choice)


@pytest.fixture(scope="module")
def tables(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, list[dict[str, Any]]]:
    """A folder of tables in the released form, their tokenizer, and their rows."""
    folder = tmp_path_factory.mktemp("tables")
    tokenizer = tokenizer_of(folder / "tokenizer")
    return folder, tokenizer, released_tables(folder / "data", tokenizer)


def from_tables(tables: tuple[Path, Path, Any], folder: Path, **changes: Any) -> dict[str, Any]:
    fields = {key: changes.pop(key) for key in ("text_field", "on_bad_row") if key in changes}
    reader = TokenTables(paths=f"{tables[0]}/data/*.parquet", domain_field="source_domain", **fields)
    settings: dict[str, Any] = {
        "reader": reader,
        "tokenizer": str(tables[1]),
        "sequence_length": LENGTH,
        "documents_per_shard": 100,
    }
    return prepare(folder, **(settings | changes))


@pytest.mark.parametrize("text_field", ["text", None])
def test_tokens_that_are_given_are_kept(tables: Any, tmp_path: Path, text_field: str | None) -> None:
    rows = tables[2]
    counts = from_tables(tables, tmp_path, text_field=text_field)
    names = [f"train-{number:05d}-of-00002.parquet:{row}" for number in range(2) for row in range(120)]
    by_name = dict(zip(names, rows, strict=True))
    found = {split: rows_of(tmp_path / "out", split) for split in module.SPLITS}
    assert counts["sequences"] == counts["documents"] == len(found["train"])
    assert [row["document_id"] for row in found["train"]] == [name for name in names if not heldout(name, 0.2, 3)]
    assert [row["document_id"] for row in found["heldout"]] == [name for name in names if heldout(name, 0.2, 3)]
    for row in [*found["train"], *found["heldout"]]:
        own = by_name[row["document_id"]]
        assert (row["input_ids"], row["text"], row["domain"]) == (own["input_ids"], own["text"], own["source_domain"])
        assert (row["length"], row["position"]) == (LENGTH, 0)
        assert row["id"] == sequence_id(row["document_id"], 0)


def test_tokens_of_another_tokenizer_are_refused(tables: Any, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"corpus\.tokenizer is null: sequences of tokens need the tokenizer"):
        from_tables(tables, tmp_path, tokenizer=None)
    with pytest.raises(
        StageError, match=rf"has {LENGTH} tokens: corpus\.sequence_length={LENGTH - 1} must be at least"
    ):
        from_tables(tables, tmp_path, output="a", sequence_length=LENGTH - 1)
    small = tokenizer_of(tmp_path / "small", 300)
    with pytest.raises(StageError, match=r"has the token id \d+, and the ids of the tokenizer end at 299: set corpus"):
        from_tables(tables, tmp_path, output="b", tokenizer=str(small))
    other = tmp_path / "other"
    tokenizing.train_bpe(["".join(map(chr, range(97, 123))) * 3, *(text[::-1] for text in TEXTS)], 700, other)
    with pytest.raises(StageError, match=r"do not spell its text .10 sequences were compared."):
        from_tables(tables, tmp_path, output="c", tokenizer=str(other))


def test_tokens_that_changed_since_a_build_was_begun_are_refused(tables: Any, tmp_path: Path) -> None:
    def digest(paths: str, rows_per_read: int = 256) -> str:
        reader = TokenTables(paths=paths, text_field=None, rows_per_read=rows_per_read)
        return next(module._batches(reader, 100, 10**5, tmp_path / "bad", Counter())).digest

    paths = f"{tables[0]}/data/*00000-of*"
    assert digest(paths) == digest(paths, rows_per_read=7)
    table = pq.read_table(f"{tables[0]}/data/train-00000-of-00002.parquet")
    ids = table["input_ids"].to_pylist()
    ids[3][5] += 1
    changed = table.set_column(table.schema.get_field_index("input_ids"), "input_ids", pa.array(ids))
    pq.write_table(changed, tmp_path / "train-00000-of-00002.parquet")
    assert digest(f"{tmp_path}/*.parquet") != digest(paths)
