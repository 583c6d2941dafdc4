"""Tables of ratings that others made, Parquet or JSON lines: which columns are used, and their rows in batches.

The layout of the first file holds for all: every file must have its columns.

- `id` with whole numbers is the id of a sequence; `id` with texts, or `document_id`, is that of a document. Without
  either, a row is the document at the same place of a corpus file: `<file name>:<row>`, as readers of corpora name it.
- Ratings are the columns `<criterion>_average`, as ratings have them on disk and in released data; in tables without
  such columns, every column of numbers. `chunk_lengths` and `<criterion>_chunks` are the windows of each row.
"""

import itertools
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from qurating.corpus.hashing import Ids, as_ids
from qurating.corpus.lines import DamagedFileError
from qurating.corpus.records import BadRowError, json_rows, kind_of, name_in
from qurating.runtime.errors import StageError

_ROWS_AT_ONCE = 2**16
_SAMPLED_LINES = 1000  # of JSON lines, which tell the kinds of their fields
_AVERAGE, _CHUNKS, _LENGTHS = "_average", "_chunks", "chunk_lengths"
_NO_RATINGS = ("id", "document_id", "length", "position")  # of a corpus
NUMBER, TEXT, LIST, OTHER = "number", "text", "list of numbers", "neither number nor text"


class Layout(NamedTuple):
    """What is read of a table.

    `key`: the column with the ids; None: the place of a row. `columns`: the column of ratings of each criterion.
    `has_windows`: each criterion has a column of windows. `unused`: the other columns.
    """

    key: str | None
    of_documents: bool
    columns: dict[str, str]
    has_windows: bool
    unused: list[str]


class Windows(NamedTuple):
    """The windows of n rows, W in all: `counts` (n,), `lengths` in tokens (W,), `values` (W, C)."""

    counts: npt.NDArray[np.int64]
    lengths: npt.NDArray[np.int32]
    values: npt.NDArray[np.float64]


class Rated(NamedTuple):
    """Rows of a table: the hash or number of each id (n,), that of the first as text, finite ratings (n, C)."""

    keys: Ids
    first: str
    values: npt.NDArray[np.float64]
    windows: Windows | None


def is_parquet(path: Path) -> bool:
    return path.suffix.lower() == ".parquet"


def layout_of(path: Path, columns: Sequence[str] | None = None, document_field: str | None = None) -> Layout:
    """How a file is read.

    Args:
        columns: that hold the ratings; None: see above.
        document_field: the column with ids of documents; None: see above.

    Raises:
        StageError: no such column, one that holds no numbers, or no ratings at all (lists all columns).
    """
    kinds = _kinds(path)
    there = ", ".join(f"{name} ({kind})" for name, kind in kinds.items())
    absent = [name for name in [*(columns or []), *([document_field] if document_field else [])] if name not in kinds]
    if absent:
        raise StageError(f"{path} has no column {', '.join(absent)}; it has {there}")
    if columns is not None and (strange := [name for name in columns if kinds[name] != NUMBER]):
        raise StageError(f"{path}: ratings are numbers, and {strange[0]} is {kinds[strange[0]]}")
    key, of_documents = document_field, True
    if key is None and kinds.get("id") == NUMBER:
        key, of_documents = "id", False
    elif key is None:
        key = next((name for name in ("document_id", "id") if name in kinds), None)
    numbers = [name for name, kind in kinds.items() if kind == NUMBER and name not in (key, *_NO_RATINGS)]
    used = columns or [name for name in numbers if name.endswith(_AVERAGE)] or numbers
    named = {name.removesuffix(_AVERAGE): name for name in used}
    if not used or len(named) < len(used):
        problem = "has two columns for one criterion" if used else "has no column of ratings"
        raise StageError(f"{path} {problem}; it has {there}. Name those to use: stages.import_ratings.columns=[score]")
    windows = [_LENGTHS, *(f"{criterion}{_CHUNKS}" for criterion in named)]
    has_windows = all(kinds.get(name) == LIST for name in windows)
    read = {key, *used, *(windows if has_windows else [])}
    return Layout(key, of_documents, named, has_windows, [name for name in kinds if name not in read])


def rows_of(path: Path, name: str, layout: Layout) -> Iterator[Rated]:
    """The rows of a file in batches, in its order.

    Args:
        name: of the file among those that are read, see `corpus.files.with_names`.

    Raises:
        StageError: a damaged file; a row without an id or a finite number for each rating (says which row).
    """
    return (_parquet if is_parquet(path) else _json_lines)(path, name, layout)


def place_of(path: Path, row: int) -> str:
    """The n-th row of a file, from 0, as people find it: rows of Parquet count from 0, lines from 1."""
    if is_parquet(path):
        return f"{path}, row {row}"
    number, _ = next(itertools.islice(json_rows(path), row, None))
    return f"{path}, line {number}"


def _kinds(path: Path) -> dict[str, str]:
    if is_parquet(path):
        try:
            schema = pq.read_schema(path)
        except (pa.ArrowInvalid, OSError) as error:
            raise StageError(f"{path} cannot be read as Parquet: {error}") from None
        return {field.name: _kind_of_type(field.type) for field in schema}
    found: dict[str, set[str]] = {}
    for number, row in itertools.islice(json_rows(path), _SAMPLED_LINES):
        for name, value in _record(row, path, number).items():
            kinds = found.setdefault(name, set())
            if value is not None:
                kinds.add(_kind_of_value(value))
    if not found:
        raise StageError(f"{path} has no row")
    return {name: kinds.pop() if len(kinds) == 1 else OTHER for name, kinds in found.items()}


def _kind_of_type(kind: pa.DataType) -> str:
    if pa.types.is_dictionary(kind):
        return TEXT if _kind_of_type(kind.value_type) == TEXT else OTHER
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return NUMBER
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return TEXT
    is_list = pa.types.is_list(kind) or pa.types.is_large_list(kind)
    return LIST if is_list and _kind_of_type(kind.value_type) == NUMBER else OTHER


def _kind_of_value(value: Any) -> str:
    if isinstance(value, str):
        return TEXT
    if isinstance(value, list):
        return LIST if all(map(_is_number, value)) else OTHER
    return NUMBER if _is_number(value) else OTHER


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _parquet(path: Path, name: str, layout: Layout) -> Iterator[Rated]:
    windows = [_LENGTHS, *(f"{criterion}{_CHUNKS}" for criterion in layout.columns)] if layout.has_windows else []
    columns = [*([layout.key] if layout.key else []), *layout.columns.values(), *windows]
    before = 0
    try:
        with pq.ParquetFile(path) as file:
            if absent := [column for column in columns if column not in file.schema_arrow.names]:
                raise StageError(f"{path} has no column {', '.join(absent)}, which the first file has")
            for batch in file.iter_batches(_ROWS_AT_ONCE, columns=columns):
                numbers = range(before, before + len(batch))
                before += len(batch)

                def fail(row: int, reason: str, numbers: range = numbers) -> StageError:
                    return StageError(f"{path}, row {numbers[row]}: {reason}")

                keys, first = _keys_of_column(batch, layout, name, numbers, fail)
                values = np.empty((len(batch), len(layout.columns)))
                for place, column in enumerate(layout.columns.values()):
                    numbers_of = batch.column(column)
                    if _kind_of_type(numbers_of.type) != NUMBER:
                        raise StageError(f"{path}: {column} holds {numbers_of.type}, and numbers in the first file")
                    values[:, place] = numbers_of.to_numpy(zero_copy_only=False)
                _check(values, layout, fail)
                yield Rated(keys, first, values, _windows(batch, layout, fail) if layout.has_windows else None)
    except (pa.ArrowInvalid, OSError) as error:
        raise DamagedFileError(path, before, "row", str(error)) from None


def _keys_of_column(batch: pa.RecordBatch, layout: Layout, name: str, numbers: range, fail: Any) -> tuple[Ids, str]:
    if layout.key is None:
        places = [f"{name}:{number}" for number in numbers]
        return as_ids(np.array(places, object)), places[0]
    column = batch.column(layout.key)
    if column.null_count:
        raise fail(int(np.flatnonzero(column.is_null())[0]), f"{layout.key} is null")
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if layout.of_documents:
        if pa.types.is_floating(column.type):
            column = pa.array([_name(value, layout.key, row, fail) for row, value in enumerate(column.to_pylist())])
        texts = column.cast(pa.string()).to_pylist()
        return as_ids(np.array(texts, object)), texts[0]
    if not pa.types.is_integer(column.type):
        raise fail(0, f"{layout.key} holds {column.type}: ids of sequences are whole numbers")
    return as_ids(column.to_numpy()), str(column[0])


def _name(value: Any, key: str, row: int, fail: Any) -> str:
    try:
        return name_in({key: value}, key)
    except BadRowError as error:
        raise fail(row, str(error)) from None


def _windows(batch: pa.RecordBatch, layout: Layout, fail: Any) -> Windows:
    lengths = batch.column(_LENGTHS)
    counts = lengths.value_lengths().fill_null(0).to_numpy().astype(np.int64)
    values = np.empty((int(counts.sum()), len(layout.columns)))
    for place, criterion in enumerate(layout.columns):
        chunks = batch.column(f"{criterion}{_CHUNKS}")
        own = chunks.value_lengths().fill_null(0).to_numpy()
        if len(wrong := np.flatnonzero(own != counts)):
            raise fail(int(wrong[0]), f"{own[wrong[0]]} {criterion}{_CHUNKS} for {counts[wrong[0]]} {_LENGTHS}")
        values[:, place] = chunks.flatten().to_numpy(zero_copy_only=False)
    if not np.isfinite(values).all():
        rows = np.repeat(np.arange(len(counts)), counts)
        raise fail(int(rows[np.argwhere(~np.isfinite(values))[0][0]]), f"{_CHUNKS} with a value that is not finite")
    return Windows(counts, lengths.flatten().to_numpy(zero_copy_only=False).astype(np.int32), values)


def _json_lines(path: Path, name: str, layout: Layout) -> Iterator[Rated]:
    rows = json_rows(path)
    while part := list(itertools.islice(rows, _ROWS_AT_ONCE)):

        def fail(row: int, reason: str, part: Sequence[tuple[int, Any]] = part) -> StageError:
            return StageError(f"{path}, line {part[row][0]}: {reason}")

        records = [_record(row, path, number) for number, row in part]
        ids: list[Any] = []
        for place, (number, record) in enumerate(zip((number for number, _ in part), records, strict=True)):
            if layout.key is None:
                ids.append(f"{name}:{number}")
            elif layout.of_documents:
                ids.append(_name(record.get(layout.key), layout.key, place, fail))
            else:
                ids.append(_sequence_id(record.get(layout.key), layout.key, place, fail))
        values = np.empty((len(records), len(layout.columns)))
        for place, column in enumerate(layout.columns.values()):
            for row, record in enumerate(records):
                value = record.get(column)
                if value is not None and not _is_number(value):
                    raise fail(row, f"{column} holds {kind_of(value)}, and numbers in the first rows")
                values[row, place] = math.nan if value is None else _as_float(value)
        _check(values, layout, fail)
        keys = as_ids(np.array(ids, object if layout.of_documents else np.int64))
        windows = _windows(_lists(records, layout, fail), layout, fail) if layout.has_windows else None
        yield Rated(keys, str(ids[0]), values, windows)


def _as_float(value: float) -> float:
    try:
        return float(value)
    except OverflowError:  # a whole number of more digits than a float can count
        return math.inf


def _sequence_id(value: Any, key: str, row: int, fail: Any) -> int:
    if isinstance(value, bool) or not isinstance(value, int) or not -(2**63) <= value < 2**63:
        raise fail(row, f"{key} holds {kind_of(value) if not isinstance(value, int) else value}: no id of a sequence")
    return value


def _lists(records: Sequence[Mapping[str, Any]], layout: Layout, fail: Any) -> pa.RecordBatch:
    """The windows of JSON lines as columns."""
    columns = {}
    for name in (_LENGTHS, *(f"{criterion}{_CHUNKS}" for criterion in layout.columns)):
        for row, record in enumerate(records):
            if not isinstance(given := record.get(name), list) or not all(map(_is_number, given)):
                raise fail(row, f"{name} is no list of numbers")
        columns[name] = pa.array([record[name] for record in records], pa.list_(pa.float64()))
    return pa.RecordBatch.from_pydict(columns)


def _record(row: Any, path: Path, number: int) -> Mapping[str, Any]:
    if isinstance(row, BadRowError):
        raise StageError(f"{path}, line {number}: {row}")
    if not isinstance(row, Mapping):
        raise StageError(f"{path}, line {number}: holds {kind_of(row)}, not a record with fields")
    return row


def _check(values: npt.NDArray[np.float64], layout: Layout, fail: Any) -> None:
    """Refuse a rating that is missing, NaN or infinite."""
    if not np.isfinite(values).all():
        row, place = np.argwhere(~np.isfinite(values))[0].tolist()
        column = list(layout.columns.values())[place]
        found = "missing, null or NaN" if math.isnan(values[row, place]) else "infinite"
        raise fail(
            row,
            f"{column} is {found}. Correct it or take out the row, or name the columns to use: "
            "stages.import_ratings.columns=[score]",
        )
