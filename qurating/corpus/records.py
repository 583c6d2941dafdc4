"""The rows of JSON lines, read in one way for all inputs, and the fields of rows of any kind.

Fields that become columns of a corpus (`corpus.keep_columns`) are `Column`s.

Lines are ended by line feeds alone: a text may hold U+2028 and other characters that only some readers take for an end.
A byte order mark, a carriage return before the line feed, and blank lines are left out.
"""

import datetime
import decimal
import json
import math
from collections.abc import Collection, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from qurating.corpus.lines import lines_of
from qurating.runtime.errors import StageError

BYTE_ORDER_MARK = b"\xef\xbb\xbf"
BLANK = object()
_NUMBER = ":number"


class BadRowError(ValueError):
    """Why a row cannot be used."""


class NoFieldError(BadRowError):
    """A row has no such field."""


class Column(NamedTuple):
    """A field that becomes a column: text, or float64 if `is_number`; `is_optional` if few rows may have it."""

    name: str
    is_number: bool = False
    is_optional: bool = False


def columns_of(entries: str | Sequence[str] | None, taken: Collection[str]) -> list[Column]:
    """The columns that entries of `corpus.keep_columns` name: `lang`, `meta.score:number`, `url?` (optional).

    Args:
        entries: None: no columns.
        taken: names of columns that a corpus has anyway.

    Raises:
        StageError: an entry that is no name, or a name that is taken or occurs twice.
    """
    columns: list[Column] = []
    for entry in [entries] if isinstance(entries, str) else entries or []:
        name = str(entry).removesuffix("?")
        column = Column(name.removesuffix(_NUMBER), name.endswith(_NUMBER), str(entry).endswith("?"))
        if not isinstance(entry, str) or not column.name:
            raise StageError(f"corpus.keep_columns has {entry!r}: an entry is the name of a field, such as meta.url")
        if column.name in taken:
            raise StageError(
                f"corpus.keep_columns has {entry!r}, and every corpus has a column {column.name!r}: leave it out, or "
                "give the field another name in the source"
            )
        if column.name in [other.name for other in columns]:
            raise StageError(f"corpus.keep_columns names {column.name!r} twice")
        columns.append(column)
    return columns


def json_rows(path: Path) -> Iterator[tuple[int, Any]]:
    """The number (from 1) and the row of each line but blank ones; a BadRowError stands for a line that is no JSON.

    Raises as `lines_of`.
    """
    for number, line in enumerate(lines_of(path), start=1):
        try:
            row = parsed(line, number)
        except BadRowError as error:
            row = error
        if row is not BLANK:
            yield number, row


def parsed(line: bytes, number: int) -> Any:
    """The row in line `number` of a file, BLANK if there is none; raises BadRowError if it is no JSON in UTF-8."""
    try:
        text = line.removeprefix(BYTE_ORDER_MARK if number == 1 else b"").decode()
        return json.loads(text) if text.strip() else BLANK
    except UnicodeDecodeError as error:
        raise BadRowError(f"not UTF-8 ({error.reason} at byte {error.start} of the line)") from None
    except json.JSONDecodeError as error:
        raise BadRowError(f"not JSON ({error.msg} at character {error.pos + 1})") from None
    except (RecursionError, ValueError) as error:  # nested too deeply; a number of too many digits
        raise BadRowError(f"not JSON that can be read ({error})") from None


def lookup(row: Any, name: str) -> Any:
    """The value of a field of a row, dotted or not; raises NoFieldError with the fields that exist.

    `meta.source` is the field of this name, or else the field `source` of the record `meta`.
    """
    if not isinstance(row, Mapping):
        raise BadRowError(f"holds {kind_of(row)}, not a record with fields")
    if name in row:
        return row[name]
    found: Any = row
    for key in name.split("."):
        if not isinstance(found, Mapping) or key not in found:
            looking = "" if key == name else f"looking for {key!r}, "
            raise NoFieldError(f"no field {name!r} ({looking}found {_fields_of(found)})")
        found = found[key]
    return found


def text_in(row: Any, field: str) -> str:
    """The text in a field; raises BadRowError if there is none, or one that UTF-8 cannot hold."""
    text = lookup(row, field)
    if not isinstance(text, str):
        raise BadRowError(f"field {field!r} holds {kind_of(text)}, not text")
    return whole(text)


def name_in(row: Any, field: str) -> str:
    """The name in a field: a text, or a whole number as text, also one that pandas made a float (1.0 is "1").

    Raises:
        BadRowError: neither; a number that is missing (NaN), not whole, or so large that floats skip others.
    """
    value = lookup(row, field)
    if isinstance(value, float):
        if math.isnan(value):
            raise BadRowError(f"field {field!r} holds {kind_of(value)}")
        if not value.is_integer():
            raise BadRowError(f"field {field!r} holds {value}, not a name or a whole number")
        if abs(value) >= 2**53:
            raise BadRowError(f"field {field!r} holds {value!r}: floats of this size cannot tell numbers apart")
        return str(int(value))
    if isinstance(value, bool) or not isinstance(value, str | int) or value == "":
        raise BadRowError(f"field {field!r} holds {'nothing' if value == '' else kind_of(value)}, not a name or number")
    return whole(str(value))


def value_in(row: Any, column: Column) -> str | float | None:
    """The value of a column in a row: text or a float; None for null and NaN, which stand for a missing value.

    Numbers become text as they are written (whole floats, as pandas makes them, without ".0"), true and false as in
    JSON, dates and times in ISO 8601.

    Raises:
        NoFieldError: the row has no such field.
        BadRowError: a text that UTF-8 cannot hold; for a number anything else than a finite one that a float can hold.
        StageError: a list, a record or bytes, which are no label to group by: no row of the corpus is likely to fit.
    """
    value = lookup(row, column.name)
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return None
    if column.is_number:
        return _number(value, column.name)
    if isinstance(value, str):
        return whole(value)
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, float) and value.is_integer() and abs(value) < 2**53:
        return str(int(value))
    if isinstance(value, int | float | decimal.Decimal):
        return str(value)
    if isinstance(value, datetime.date | datetime.time):
        return value.isoformat()
    inner = f" (its fields: {column.name}.{next(iter(value))}, …)" if isinstance(value, Mapping) and value else ""
    raise StageError(
        f"corpus.keep_columns: field {column.name!r} holds {kind_of(value)}; a column holds one text or number per "
        f"document{inner}"
    )


def _number(value: Any, name: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float | decimal.Decimal):
        raise BadRowError(f"field {name!r} holds {kind_of(value)}, not a number")
    try:
        number = float(value)
    except OverflowError:
        number = math.inf
    if not math.isfinite(number):
        raise BadRowError(f"field {name!r} holds {number}, not a finite number")
    if isinstance(value, int) and int(number) != value:
        raise BadRowError(f"field {name!r} holds {value}: a float cannot hold all its digits; keep it as text")
    return number


def whole(text: str) -> str:
    """The text; raises BadRowError if it holds half of a surrogate pair, which UTF-8 cannot hold."""
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise BadRowError(f"holds half of a surrogate pair, {text[error.start]!a}") from None
    return text


def kind_of(value: Any) -> str:
    if isinstance(value, float) and math.isnan(value):
        return "NaN, which stands for a missing value"
    return "null" if value is None else f"a value of type {type(value).__name__}"


def _fields_of(value: Any) -> str:
    return f"the fields {', '.join(map(str, value))}" if isinstance(value, Mapping) and value else kind_of(value)
