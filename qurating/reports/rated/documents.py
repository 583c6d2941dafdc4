"""The sampled sequences of an analysis, as JSON for the explorer, within a number of bytes."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qurating.reports.rated.safe_json import dumps
from qurating.reports.rated.tables import cut, strings, values
from qurating.runtime.errors import StageError

MAX_CHARACTERS = 20_000  # of a text; the page says how many texts are cut
_REQUIRED = ("id", "document_id", "position", "domain", "length")


class Documents(NamedTuple):
    """What the explorer needs to know; `rows` and `texts` are JSON arrays, one element per sequence."""

    rows: str
    texts: str
    num_shown: int
    num_given: int
    num_cut: int  # of the shown ones
    num_without_text: int
    num_besides: int  # shown, and not of the even sample: extremes and examples
    criteria: list[str]
    subsets: list[str]
    columns: list[str]


def utf16_offsets(text: str, offsets: Sequence[int]) -> list[int]:
    """Offsets in characters as offsets in units of UTF-16, which JavaScript counts in; beyond the end is the end."""
    ends = np.clip(np.asarray(offsets, np.int64), 0, len(text))
    if not text or max(text) <= "\uffff":
        return ends.tolist()
    beyond = np.frombuffer(text.encode("utf-32-le", "surrogatepass"), np.uint32) > 0xFFFF
    return (ends + np.concatenate([[0], np.cumsum(beyond)])[ends]).tolist()


def read(folder: Path, budget: int, first: Collection[str] = (), seed: int = 0) -> Documents:
    """Read `folder`/documents.parquet, and keep what fits into the page.

    Args:
        budget: bytes of UTF-8 for `rows` and `texts` together.
        first: ids of sequences that other parts of the page show. They, and those that are not of the even sample
            (`sampled` is false), are taken first, up to half of the budget.
        seed: the others come in a random order until one does not fit, so that length decides nothing.

    Returns:
        The sequences in the order of the file.

    Raises:
        StageError: a column is missing.
    """
    file = folder / "documents.parquet"
    table = pq.read_table(file)
    missing = [name for name in _REQUIRED if name not in table.column_names]
    if missing:
        raise StageError(f"{file} has no column {', '.join(missing)}. Is it of another version?")
    encoded = _Encoder(table)
    taken, used = set[int](), 4
    wanted = set(first)
    examples = [row for row, name in enumerate(encoded.ids) if name in wanted or not encoded.is_sampled[row]]
    for rows, limit in ((examples, budget // 2), (np.random.default_rng(seed).permutation(len(table)), budget)):
        for row in map(int, rows):
            if row in taken:
                continue
            size = encoded.size(row)
            if used + size > limit:
                break
            taken.add(row)
            used += size
    shown = sorted(taken)
    return Documents(
        rows=f"[{','.join(encoded.rows[row] for row in shown)}]",
        texts=f"[{','.join(encoded.texts[row] for row in shown)}]",
        num_shown=len(shown),
        num_given=len(table),
        num_cut=sum(encoded.is_cut[row] for row in shown),
        num_without_text=sum(encoded.texts[row] == "null" for row in shown),
        num_besides=sum(not encoded.is_sampled[row] for row in shown),
        criteria=encoded.criteria,
        subsets=encoded.subsets,
        columns=encoded.columns,
    )


class _Encoder:
    """Encodes rows of the table one by one, each once."""

    def __init__(self, table: pa.Table) -> None:
        def named(prefix: str) -> dict[str, list[Any]]:
            found = [name for name in table.column_names if name.startswith(f"{prefix}.")]
            return {name.partition(".")[2]: values(table[name]) for name in found}

        def given(name: str) -> list[Any]:
            return values(table[name]) if name in table.column_names else [None] * len(table)

        self.is_sampled = table["sampled"].to_pylist() if "sampled" in table.column_names else [True] * len(table)
        self.ids = [str(value) for value in table["id"].to_pylist()]
        self._plain = {name: given(name) for name in ("document_id", "position", "domain", "cluster", "length")}
        self._text = strings(table["text"]) if "text" in table.column_names else [None] * len(table)
        ratings, percentiles, kept, labels = map(named, ("rating", "percentile", "kept", "column"))
        self.criteria, self.subsets, self.columns = ([cut(name) for name in each] for each in (ratings, kept, labels))
        self._ratings, self._kept, self._labels = list(ratings.values()), list(kept.values()), list(labels.values())
        empty = [None] * len(table)
        self._percentiles = [percentiles.get(name, empty) for name in ratings]
        windows = [f"windows.{name}" for name in ratings]
        self._windows = [table[name].to_pylist() if name in table.column_names else empty for name in windows]
        self._ends = table["window_ends"].to_pylist() if "window_ends" in table.column_names else empty
        self.rows, self.texts, self.is_cut = dict[int, str](), dict[int, str](), dict[int, bool]()

    def size(self, row: int) -> int:
        """Encode a row and its text; returns their bytes with a comma each."""
        text, ends = self._text[row], self._ends[row]
        shown = None if text is None else text[:MAX_CHARACTERS]
        self.is_cut[row] = text is not None and len(text) > MAX_CHARACTERS
        self.texts[row] = dumps(shown)
        content = {"id": self.ids[row]} | {name: column[row] for name, column in self._plain.items()}
        content |= {
            "ratings": [column[row] for column in self._ratings],
            "percentiles": [None if column[row] is None else round(column[row], 1) for column in self._percentiles],
            "windows": [_rounded(column[row]) for column in self._windows],
            "ends": None if ends is None or shown is None else utf16_offsets(shown, ends),
            "kept": [number for number, column in enumerate(self._kept) if column[row]],
            "labels": [column[row] for column in self._labels],
            "characters": None if text is None else len(text),
        }
        self.rows[row] = dumps(content)
        return len(self.rows[row].encode()) + len(self.texts[row].encode()) + 2


def _rounded(ratings: Sequence[float | None] | None) -> list[float | None]:
    return [None if each is None else float(f"{each:.4g}") for each in ratings or ()]
