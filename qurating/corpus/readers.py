"""Corpora as streams of documents: JSON lines, Parquet files, and data sets of the Hugging Face Hub.

Every reader is iterable, any number of times, over `Document` in a fixed order and in bounded memory. It has

- `bad_rows`: the rows that it could not read, if `on_bad_row="skip"`; cleared when an iteration starts, and by the
  caller at any time; of a damaged file, the row where it breaks off;
- `skipped`: the number of documents that it skipped, by reason, and of files whose rest is lost;
- `parts()`: readers of parts of the corpus, for drawing a sample that is spread over it;
- `most_characters()`: an upper bound of the characters in all documents; None if it is not known without reading them.

With `on_bad_row="stop"` the first bad row, and a damaged file, raise StageError with file, line and reason. With "skip"
they are recorded, and what can be read of a damaged file is kept.
"""

import dataclasses
import glob
import itertools
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
import numpy.typing as npt

from qurating.corpus.files import named_files, stem
from qurating.corpus.lines import DamagedFileError, is_compressed
from qurating.corpus.records import BadRowError, Column, NoFieldError, json_rows, name_in, text_in, value_in, whole
from qurating.runtime import hub_data
from qurating.runtime.errors import StageError
from qurating.runtime.revisions import pinned, without_pin

if TYPE_CHECKING:
    import pyarrow as pa


class Document(NamedTuple):
    """A text, or a sequence of tokens with its text.

    `columns` are the values of the fields that are kept, each a text, a float or None. `input_ids` (n,) are the tokens
    of a document that is tokenised already; its text may then be empty.
    """

    document_id: str
    domain: str
    text: str
    columns: tuple[str | float | None, ...] = ()
    input_ids: npt.NDArray[np.int32] | None = None


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

    def most_characters(self) -> int | None: ...


@dataclasses.dataclass(kw_only=True)
class Fields:
    """Where a document lies in a row (see `records.lookup`), and what to do with a row without one.

    `kept` are further fields, which become `Document.columns`. `absent` has those that no row had so far, each with the
    reason, and `present` the others.
    """

    settings: ClassVar[str] = "corpus"  # whose settings the messages name
    text_field: str = "text"
    domain_field: str | None = None
    id_field: str | None = None
    on_bad_row: str = "stop"
    bad_rows: list[BadRow] = dataclasses.field(default_factory=list, init=False)
    skipped: Counter[str] = dataclasses.field(default_factory=Counter, init=False)
    kept: Sequence[Column] = dataclasses.field(default=(), init=False)
    absent: dict[str, str] = dataclasses.field(default_factory=dict, init=False)
    present: set[str] = dataclasses.field(default_factory=set, init=False)

    def __post_init__(self) -> None:
        if self.on_bad_row not in ("stop", "skip"):
            raise StageError(f"on_bad_row is {self.on_bad_row!r}; it can be 'stop' or 'skip'")

    def document(self, row: Any, default_id: str, default_domain: str) -> Document:
        """The document in a row; raises BadRowError if it has none."""
        text = self.text_of(row)
        domain = whole(default_domain) if self.domain_field is None else name_in(row, self.domain_field)
        document_id = whole(default_id) if self.id_field is None else name_in(row, self.id_field)
        return Document(document_id, domain, text, tuple(self._kept_in(row, column) for column in self.kept))

    def text_of(self, row: Any) -> str:
        return text_in(row, self.text_field)

    def _kept_in(self, row: Any, column: Column) -> str | float | None:
        try:
            value = value_in(row, column)
        except NoFieldError as error:
            if column.name not in self.present:
                self.absent[column.name] = str(error)
            return None
        if column.name not in self.present:
            self.present.add(column.name)
            self.absent.pop(column.name, None)
        return value

    def refuse(self, source: str, row: int, reason: str, unit: str) -> None:
        """Record a bad row, or stop at it."""
        if self.on_bad_row == "stop":
            way_out = "Fix it, or skip such rows: corpus.on_bad_row=skip"
            if reason.startswith("no field"):
                way_out = "Set the field name: corpus.text_field, domain_field or id_field. " + way_out
            raise StageError(f"{source}, {unit} {row}: {reason}\n  {way_out}")
        self.bad_rows.append(BadRow(source, row, reason))

    def most_characters(self) -> int | None:
        return None

    def lose(self, error: DamagedFileError) -> None:
        """Record that the rest of a file is lost, or stop at it."""
        if self.on_bad_row == "stop":
            way_out = f"Get the file again, or keep what can be read of it: {self.settings}.on_bad_row=skip"
            raise StageError(f"{error}\n  {way_out}") from None
        lost = f"the file is damaged or cut short ({error.reason}): this {error.unit} and all after it are lost"
        self.bad_rows.append(BadRow(str(error.source), error.number, lost))
        self.skipped["rest of a damaged file"] += 1


@dataclasses.dataclass
class _Files(Fields):
    """Documents in files, one part per file; a subclass says how the rows of one are read."""

    paths: str | Sequence[str]
    unit: ClassVar[str]

    def rows(self, path: Path) -> Iterator[tuple[int, Any]]:
        """The numbers and rows of a file; a BadRowError stands for a row that cannot be read."""
        raise NotImplementedError

    def __iter__(self) -> Iterator[Document]:
        self.bad_rows.clear()
        self.skipped.clear()
        for path, name in named_files(self.paths):
            domain = stem(path)
            try:
                for number, row in self.rows(path):
                    try:
                        if isinstance(row, BadRowError):
                            raise row
                        document = self.document(row, f"{name}:{number}", domain)
                    except BadRowError as error:
                        self.refuse(str(path), number, str(error), self.unit)
                    else:
                        yield document
            except DamagedFileError as error:
                self.lose(error)

    def parts(self) -> list[Self]:
        return [dataclasses.replace(self, paths=[glob.escape(str(path))]) for path, _ in named_files(self.paths)]


@dataclasses.dataclass
class Jsonl(_Files):
    """JSON lines, plain or compressed (see `lines`): one record per line, in UTF-8. Blank lines are skipped.

    Without `domain_field` the domain is the file name without its endings; without `id_field` the id is
    `<file name>:<line>`, with as much of the folder as distinguishes files of the same name.
    """

    unit: ClassVar[str] = "line"

    def rows(self, path: Path) -> Iterator[tuple[int, Any]]:
        return json_rows(path)

    def most_characters(self) -> int | None:
        files = [path for path, _ in named_files(self.paths)]
        return None if any(map(is_compressed, files)) else sum(file.stat().st_size for file in files)


@dataclasses.dataclass
class Parquet(_Files):
    """Parquet files: one document per row. Only the needed columns are read.

    Domains and ids without a field are as for `Jsonl`; the number in the id is that of the row, from 0.
    """

    rows_per_read: int = 256
    unit: ClassVar[str] = "row"

    def rows(self, path: Path) -> Iterator[tuple[int, Any]]:
        import pyarrow as pa
        import pyarrow.parquet as pq

        fields, number = self.needed(), 0
        try:
            with pq.ParquetFile(path) as file:
                names = file.schema_arrow.names
                columns = [_column(field, names) for field in fields]
                for field, column in zip(fields, columns, strict=True):
                    if column not in names:
                        raise StageError(f"{path} has no column {field!r}; it has {', '.join(names)}")
                columns += [there for kept in self.kept if (there := _column(kept.name, names)) in names]
                for batch in file.iter_batches(batch_size=self.rows_per_read, columns=sorted(set(columns))):
                    yield from enumerate(self.rows_in(batch), start=number)
                    number += batch.num_rows
        except (pa.ArrowInvalid, OSError) as error:
            with open(path, "rb") as content:
                is_parquet = content.read(4) in (b"PAR1", b"")
            if is_parquet:
                raise DamagedFileError(path, number, "row", str(error)) from None
            raise StageError(f"{path} cannot be read as Parquet: {error}") from None

    def needed(self) -> list[str]:
        """The fields that every file must have."""
        return [field for field in (self.text_field, self.domain_field, self.id_field) if field is not None]

    def rows_in(self, batch: "pa.RecordBatch") -> list[Any]:
        """The rows of a batch; a BadRowError stands for a row that is not UTF-8."""
        try:
            return batch.to_pylist()
        except UnicodeDecodeError:
            return [_row_or_error(batch.slice(i, 1)) for i in range(batch.num_rows)]


@dataclasses.dataclass(kw_only=True)
class TokenTables(Parquet):
    """Parquet files of sequences that are tokenised already: each row is a document of one sequence.

    `tokens_field` is a column with lists of token ids. Without a `text_field`, texts are empty.
    """

    text_field: str | None = "text"  # type: ignore[assignment]
    tokens_field: str = "input_ids"

    def needed(self) -> list[str]:
        return [*super().needed(), self.tokens_field]

    def rows_in(self, batch: "pa.RecordBatch") -> list[Any]:
        import pyarrow as pa

        tokens = batch.column(self.tokens_field)
        if not (pa.types.is_list(tokens.type) or pa.types.is_large_list(tokens.type)):
            raise StageError(f"corpus.tokens_field: {self.tokens_field} holds {tokens.type}, not lists of token ids")
        rows = super().rows_in(batch.drop_columns([self.tokens_field]))
        # as arrays: a list of Python integers takes longer to make than all the rest
        ends = np.cumsum(tokens.value_lengths().fill_null(0).to_numpy())
        parts = np.split(tokens.flatten().to_numpy(zero_copy_only=False), ends[:-1])
        for row, part in zip(rows, parts, strict=True):
            if not isinstance(row, BadRowError):
                row[self.tokens_field] = part
        return rows

    def text_of(self, row: Any) -> str:
        return "" if self.text_field is None else super().text_of(row)

    def document(self, row: Any, default_id: str, default_domain: str) -> Document:
        ids = row[self.tokens_field]
        if not len(ids) or not np.issubdtype(ids.dtype, np.integer):
            raise BadRowError(f"field {self.tokens_field!r} holds no token ids")
        if ids.min() < 0 or ids.max() >= 2**31:
            raise BadRowError(f"field {self.tokens_field!r} holds {ids.min()} to {ids.max()}: no token ids")
        return super().document(row, default_id, default_domain)._replace(input_ids=ids.astype(np.int32, copy=False))


@dataclasses.dataclass
class Hub(Fields):
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


def _column(field: str, names: Sequence[str]) -> str:
    """The column of a Parquet file that holds a field: that of its name, else the record that its name begins with."""
    return field if field in names else field.partition(".")[0]


def _row_or_error(row: Any) -> Any:
    try:
        return row.to_pylist()[0]
    except UnicodeDecodeError as error:
        return BadRowError(f"not UTF-8 ({error.reason} at byte {error.start} of a field)")
