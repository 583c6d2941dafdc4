"""Corpora as streams of documents: JSON lines, Parquet files, and data sets of the Hugging Face Hub.

Every reader is iterable, any number of times, over `Document` in a fixed order and in bounded memory. It has

- `bad_rows`: the rows that it could not read, if `on_bad_row="skip"`; cleared when an iteration starts, and by the
  caller at any time;
- `skipped`: the number of documents that it skipped, by reason;
- `parts()`: readers of parts of the corpus, for drawing a sample that is spread over it.

With `on_bad_row="stop"` the first bad row raises StageError with its file, its line, and the reason.
"""

import dataclasses
import glob
import itertools
import json
import os
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, Protocol, Self

from qurating.corpus import hub_data
from qurating.corpus.files import lines_of, named_files, stem
from qurating.runtime.errors import StageError
from qurating.runtime.revisions import pinned, without_pin


class Document(NamedTuple):
    document_id: str
    domain: str
    text: str


class BadRow(NamedTuple):
    """A row that is not a document. `row` counts lines from 1 and rows of tables from 0, as editors and pandas do."""

    source: str
    row: int
    reason: str


class Reader(Protocol):
    bad_rows: list[BadRow]
    skipped: Counter[str]

    def __iter__(self) -> Iterator[Document]: ...

    def parts(self) -> Sequence["Reader"]: ...


class BadRowError(ValueError):
    """Why a row is not a document."""


@dataclasses.dataclass(kw_only=True)
class _Fields:
    """Where a document lies in a row, and what to do with a row without one.

    Names of fields may be dotted: `meta.source` is the field `source` of the record `meta`.
    """

    text_field: str = "text"
    domain_field: str | None = None
    id_field: str | None = None
    on_bad_row: str = "stop"
    bad_rows: list[BadRow] = dataclasses.field(default_factory=list, init=False)
    skipped: Counter[str] = dataclasses.field(default_factory=Counter, init=False)

    def __post_init__(self) -> None:
        if self.on_bad_row not in ("stop", "skip"):
            raise StageError(f"on_bad_row is {self.on_bad_row!r}; it can be 'stop' or 'skip'")

    def document(self, row: Any, default_id: str, default_domain: str) -> Document:
        """The document in a row; raises BadRowError if it has none."""
        if not isinstance(row, Mapping):
            raise BadRowError(f"holds {kind_of(row)}, not a record with fields")
        text = lookup(row, self.text_field)
        if not isinstance(text, str):
            raise BadRowError(f"field {self.text_field!r} holds {kind_of(text)}, not text")
        domain = default_domain if self.domain_field is None else _name(row, self.domain_field)
        document_id = default_id if self.id_field is None else _name(row, self.id_field)
        for value in (text, domain, document_id):
            if not value.isascii():
                try:
                    value.encode()
                except UnicodeEncodeError as error:
                    raise BadRowError(f"holds half of a surrogate pair, {value[error.start]!a}") from None
        return Document(document_id, domain, text)

    def refuse(self, source: str, row: int, reason: str, unit: str) -> None:
        """Record a bad row, or stop at it."""
        if self.on_bad_row == "stop":
            way_out = "Fix it, or skip such rows: corpus.on_bad_row=skip"
            if reason.startswith("no field"):
                way_out = "Set the field name: corpus.text_field, domain_field or id_field. " + way_out
            raise StageError(f"{source}, {unit} {row}: {reason}\n  {way_out}")
        self.bad_rows.append(BadRow(source, row, reason))


@dataclasses.dataclass
class Jsonl(_Fields):
    """JSON lines, plain or compressed (.gz, .zst): one record per line, in UTF-8. Blank lines are skipped.

    Without `domain_field` the domain is the file name without its endings; without `id_field` the id is
    `<file name>:<line>`, with as much of the folder as distinguishes files of the same name.
    """

    paths: str | Sequence[str]

    def __iter__(self) -> Iterator[Document]:
        self.bad_rows.clear()
        for path, name in named_files(self.paths):
            domain = stem(path)
            for number, line in enumerate(lines_of(path), start=1):
                try:
                    text = line.decode("utf-8-sig" if number == 1 else "utf-8")
                    if not text.strip():
                        continue
                    document = self.document(json.loads(text), f"{name}:{number}", domain)
                except UnicodeDecodeError as error:
                    reason = f"not UTF-8 ({error.reason} at byte {error.start} of the line)"
                    self.refuse(str(path), number, reason, "line")
                except json.JSONDecodeError as error:
                    self.refuse(str(path), number, f"not JSON ({error.msg} at character {error.pos + 1})", "line")
                except (BadRowError, RecursionError) as error:
                    self.refuse(str(path), number, str(error), "line")
                else:
                    yield document

    def parts(self) -> list[Self]:
        return [dataclasses.replace(self, paths=[glob.escape(str(path))]) for path, _ in named_files(self.paths)]


@dataclasses.dataclass
class Parquet(_Fields):
    """Parquet files: one document per row. Only the needed columns are read.

    Domains and ids without a field are as for `Jsonl`; the number in the id is that of the row, from 0.
    """

    paths: str | Sequence[str]
    rows_per_read: int = 256

    def __iter__(self) -> Iterator[Document]:
        self.bad_rows.clear()
        for path, name in named_files(self.paths):
            domain = stem(path)
            for number, row in enumerate(self._rows(path)):
                try:
                    if isinstance(row, UnicodeDecodeError):
                        raise BadRowError(f"not UTF-8 ({row.reason} at byte {row.start} of a field)")
                    document = self.document(row, f"{name}:{number}", domain)
                except BadRowError as error:
                    self.refuse(str(path), number, str(error), "row")
                else:
                    yield document

    def _rows(self, path: Path) -> Iterator[Any]:
        """The rows of a file as dictionaries; a UnicodeDecodeError stands for a row that is not UTF-8."""
        import pyarrow as pa
        import pyarrow.parquet as pq

        fields = [field for field in (self.text_field, self.domain_field, self.id_field) if field is not None]
        try:
            with pq.ParquetFile(path) as file:
                names = file.schema_arrow.names
                columns = [field if field in names else field.partition(".")[0] for field in fields]
                for field, column in zip(fields, columns, strict=True):
                    if column not in names:
                        raise StageError(f"{path} has no column {field!r}; it has {', '.join(names)}")
                for batch in file.iter_batches(batch_size=self.rows_per_read, columns=sorted(set(columns))):
                    try:
                        yield from batch.to_pylist()
                    except UnicodeDecodeError:
                        yield from (_row_or_error(batch.slice(i, 1)) for i in range(batch.num_rows))
        except (pa.ArrowInvalid, OSError) as error:
            raise StageError(f"{path} cannot be read as Parquet: {error}") from None

    def parts(self) -> list[Self]:
        return [dataclasses.replace(self, paths=[glob.escape(str(path))]) for path, _ in named_files(self.paths)]


@dataclasses.dataclass
class Hub(_Fields):
    """A data set of the Hugging Face Hub (or a folder on disk), streamed; code from the Hub is never run.

    `data_files` are files, URLs or patterns for `load_dataset`; `dataset` is then the format ("json", "parquet").
    Without a `domain_field` the domain is `name`; without an `id_field` the id is `name` and a running number from 0.
    Documents of other domains than `keep_domains` are skipped and counted; of the rest, the first `max_documents` are
    read. The token is read from the environment variable `token_variable`.
    """

    dataset: str
    name: str
    subset: str | None = None
    split: str = "train"
    data_files: str | Sequence[str] | None = None
    revision: str | None = None
    token_variable: str = "HF_TOKEN"
    keep_domains: Sequence[str] | None = None
    max_documents: int | None = None

    def __iter__(self) -> Iterator[Document]:
        return itertools.islice(self._documents(), self.max_documents)

    def _documents(self) -> Iterator[Document]:
        self.bad_rows.clear()
        self.skipped.clear()
        for number, row in enumerate(self.rows()):
            try:
                document = self.document(row, f"{self.name}:{number}", self.name)
            except BadRowError as error:
                self.refuse(self.dataset, number, str(error), "row")
                continue
            if self.keep_domains is None or document.domain in self.keep_domains:
                yield document
            else:
                self.skipped["of another domain"] += 1

    def rows(self) -> Iterator[Any]:
        """The rows as dictionaries; raises StageError if the data set cannot be read."""
        import datasets

        token = os.environ.get(self.token_variable) or None
        named = hub_data.named(self.dataset, self.data_files)
        revision = self.revision or named.revision
        try:
            yield from datasets.load_dataset(
                os.path.expanduser(named.name),
                self.subset,
                split=self.split,
                data_files=[hub_data.pinned_url(file, token) for file in named.files] or None,
                revision=pinned(named.name, "dataset", revision, token) if named.is_on_hub else revision,
                streaming=True,
                token=token,
            )
        except StageError:
            raise
        except Exception as error:  # the Hub, the network and the files raise many types
            raise StageError(self._explanation(error)) from error

    def _explanation(self, error: Exception) -> str:
        """What went wrong with the data set, and the way out."""
        said = f"{type(error).__name__}: {str(error).strip() or 'no message'}"
        page = f"https://huggingface.co/datasets/{without_pin(self.dataset)[0]}"
        if "script" in str(error):
            way_out = "it needs its own code, which is never run: name its files (data_files=…, dataset=json)"
        elif isinstance(error, ValueError | TypeError | KeyError) and "gated" not in said.lower():
            way_out = f"see {page} for its subsets, splits and columns"
        else:
            has_token = "is set" if os.environ.get(self.token_variable) else "is not set"
            way_out = (
                f"visit {page} to see that it exists and to ask for access, create a token at "
                f"https://huggingface.co/settings/tokens, and put it into the environment variable "
                f"{self.token_variable} (which {has_token}); without a network, read local files: corpus=jsonl"
            )
        which = f"{self.dataset!r} (subset {self.subset!r}, split {self.split!r})"
        return f"the data set {which} cannot be read: {said}\n  {way_out}"

    def parts(self) -> list[Self]:
        return [self]  # reading from the middle of a stream costs as much as reading up to it


def kind_of(value: Any) -> str:
    return "null" if value is None else f"a value of type {type(value).__name__}"


def lookup(row: Mapping[str, Any], name: str) -> Any:
    """The value of a field, dotted or not; raises BadRowError with the fields that exist."""
    if name in row:
        return row[name]
    found: Any = row
    for key in name.split("."):
        if not isinstance(found, Mapping) or key not in found:
            looking = "" if key == name else f"looking for {key!r}, "
            raise BadRowError(f"no field {name!r} ({looking}found {_fields_of(found)})")
        found = found[key]
    return found


def _fields_of(value: Any) -> str:
    return f"the fields {', '.join(map(str, value))}" if isinstance(value, Mapping) and value else kind_of(value)


def _name(row: Mapping[str, Any], field: str) -> str:
    value = lookup(row, field)
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise BadRowError(f"field {field!r} holds {'nothing' if value == '' else kind_of(value)}, not a name or number")
    return str(value)


def _row_or_error(row: Any) -> Any:
    try:
        return row.to_pylist()[0]
    except UnicodeDecodeError as error:
        return error
