"""Reads existing judgments in the columns of the released 250K, and checks every row.

A row has `texts` (two), optionally `indices` (two whole numbers), and for each criterion the 2 × 2 matrices
`<c>_votes_a`, `<c>_votes_b` and `<c>_average` as nested lists. Entry [i][j] is about text i shown as A and text j as B;
in the averages it is P(text j preferred over text i). −100 stands on the diagonal and for absent judgments.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from qurating.corpus.files import named_files
from qurating.corpus.records import BadRowError, json_rows
from qurating.judging.preferences import ABSENT
from qurating.runtime.errors import StageError

KINDS = ("votes_a", "votes_b", "average")
TOLERANCE = 1e-3  # of p(B ≻ A) + p(A ≻ B) = 1, for files in half precision
Row = tuple[str, Any]  # its place, for messages; its content


def rows_of_files(paths: str | Sequence[str]) -> Iterator[Row]:
    """The rows of Parquet files (.parquet) and JSON lines (any other ending, compressed or not).

    Raises:
        StageError: no file, or one that is damaged or not in the format of its name; the message has file and line.
    """
    import pyarrow as pa
    import pyarrow.parquet as pq

    for path, _ in named_files(paths):
        if path.suffix == ".parquet":
            number = 0
            try:
                with pq.ParquetFile(path) as file:
                    for batch in file.iter_batches(batch_size=1000):
                        for row in batch.to_pylist():
                            yield f"{path}, row {number}", row
                            number += 1
            except (pa.ArrowInvalid, OSError, UnicodeDecodeError) as error:
                raise StageError(f"{path}, row {number}: cannot be read as Parquet: {error}") from None
        else:
            for number, row in json_rows(path):
                if isinstance(row, BadRowError):
                    raise StageError(f"{path}, line {number}: {row}")
                yield f"{path}, line {number}", row


def checked(where: str, row: Any, criteria: Sequence[str]) -> dict[str, Any]:
    """The checked parts of a row: `texts`, `indices` (None if absent) and the matrices of the criteria as floats.

    Raises:
        StageError: an invalid row; the message has its place and the reason.
    """
    try:
        if not isinstance(row, Mapping):
            raise ValueError("not a record with columns")
        texts: Any = row.get("texts")
        if not _two(texts) or not all(isinstance(text, str) and text.strip() for text in texts):
            raise ValueError("`texts` must be two texts, neither of them blank")
        for text in texts:
            if any("\ud800" <= c <= "\udfff" for c in text):
                raise ValueError("`texts` has half a character (a lone surrogate)")
        indices: Any = row.get("indices")
        if indices is not None and not (_two(indices) and all(isinstance(i, int) for i in indices)):
            raise ValueError("`indices` must be two whole numbers")
        found: dict[str, Any] = {"texts": list(texts), "indices": indices and [int(i) for i in indices]}
        for name in criteria:
            for kind in KINDS:
                found[f"{name}_{kind}"] = _matrix(row, f"{name}_{kind}").tolist()
            _check_average(np.array(found[f"{name}_average"]), f"{name}_average")
    except ValueError as error:
        raise StageError(f"{where}: {error}") from None
    return found


def _two(value: Any) -> bool:
    return isinstance(value, list | tuple) and len(value) == 2


def _matrix(row: Mapping[str, Any], column: str) -> np.ndarray:
    """A 2 × 2 matrix of numbers: −100, or 0 and above."""
    if column not in row:
        judged = sorted(key.removesuffix("_average") for key in map(str, row) if key.endswith("_average"))
        raise ValueError(
            f"the column {column} is missing; the row is judged by {', '.join(judged) or 'nothing'} "
            "(to remove a criterion: ~criterion@criteria.NAME)"
        )
    value = row[column]
    if not _two(value) or not all(_two(line) for line in value):
        raise ValueError(f"{column} is {str(value)[:60]!r}: it must be a 2 × 2 nested list")
    numbers = [entry for line in value for entry in line]
    if any(isinstance(entry, bool) or not isinstance(entry, int | float) for entry in numbers):
        raise ValueError(f"{column} is {str(value)[:60]}: all entries must be numbers")
    found = np.array(value, dtype=np.float64)
    if not (((found >= 0) & np.isfinite(found)) | (found == ABSENT)).all():
        raise ValueError(f"{column} is {str(value)[:60]}: its entries must be 0 or more, or −100 for none")
    return found


def _check_average(average: np.ndarray, column: str) -> None:
    if (np.diag(average) != ABSENT).any():
        raise ValueError(f"{column} is {average.tolist()}: its diagonal must be −100")
    pair = average[[0, 1], [1, 0]]
    if (pair == ABSENT).all():
        return
    if (pair == ABSENT).any() or (pair > 1).any() or abs(pair.sum() - 1) > TOLERANCE:
        raise ValueError(
            f"{column} is {average.tolist()}: [0][1] and [1][0] must be probabilities of sum 1, or both −100"
        )
