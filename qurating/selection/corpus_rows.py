"""The rows of a corpus to select from: ids, lengths, domains and ratings, read column by column."""

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from qurating.artifacts.files import row_files
from qurating.corpus.hashing import Ids, as_ids
from qurating.corpus.sequences import another_corpus
from qurating.runtime.errors import StageError
from qurating.runtime.workers import ahead
from qurating.selection.rows import Chunk

_ROWS_AT_ONCE = 2**16
_BYTES_AT_ONCE = 2**18
_CHUNKS_AHEAD = 4
NO_DOMAIN = "all"


class CorpusRows:
    """The training sequences of a corpus, in its order, without their texts and tokens. See `rows.Rows`.

    Args:
        corpus: a corpus artifact.
        ratings: of the corpus, row for row; None: no ratings.
        criteria: whose ratings are read.
        domain_column: of the corpus; a dotted name is that of a column, or else of a field of a record. Null in this
            column is a domain called `none`. None: all rows are of one domain.
        description: text of the progress bar.

    Raises:
        StageError: an unknown column or criterion (lists the known ones); ratings of other rows.
    """

    def __init__(
        self,
        corpus: Path,
        ratings: Path | None,
        criteria: Sequence[str],
        domain_column: str | None = "domain",
        description: str = "selecting",
    ) -> None:
        self.criteria = list(criteria)
        self.domain_names: list[str] = []
        self.num_passes = 0
        self._description = description
        self._codes: dict[str, int] = {}
        self._domain_column = domain_column
        self._files = row_files(corpus / "train")
        self._rated = row_files(ratings / "train") if ratings is not None and criteria else None
        self._corpus, self._ratings = corpus, ratings
        self.file_sizes = [pq.read_metadata(file).num_rows for file in self._files]
        if domain_column is None:
            self._code_of(NO_DOMAIN)
        else:
            check_column(self._files[0], domain_column)
        if self._rated is not None:
            check_criteria(self._rated[0], criteria)
            self._check_sizes()

    def __len__(self) -> int:
        return sum(self.file_sizes)

    def chunks(self) -> Iterator[Chunk]:
        """Chunks of at most 65,536 rows; no chunk spans two shards. A thread reads ahead."""
        self.num_passes += 1
        desc = f"{self._description}, pass {self.num_passes}"
        progress = tqdm(total=len(self), desc=desc, unit="row", unit_scale=True, mininterval=0.5)
        with progress:
            for chunk in ahead(self._read(), _CHUNKS_AHEAD):
                yield chunk
                progress.update(len(chunk.ids))

    def _read(self) -> Iterator[Chunk]:
        columns = ["id", "length", *([self._domain_column] if self._domain_column else [])]
        names = [f"{name}_average" for name in self.criteria]
        rated = [*names, *(["id"] if self.num_passes == 1 else [])]  # ids are compared once
        for place, file in enumerate(self._files):
            own_columns = (
                (_ids(batch), batch.column("length").to_numpy(), self._domains(batch))
                for batch in _batches(file, columns, self._domain_column)
            )
            if self._rated is None:
                for ids, lengths, domains in _rechunked(own_columns):
                    yield Chunk(ids, lengths, domains, {})
                continue
            rated_columns = (
                (
                    *(_numbers(batch.column(name)) for name in names),
                    *(_ids(batch) for name in rated[len(names) :]),
                )
                for batch in _batches(self._rated[place], rated)
            )
            for (ids, lengths, domains), found in zip(_rechunked(own_columns), _rechunked(rated_columns), strict=True):
                scores, rated_ids = found[: len(names)], found[len(names) :]
                if rated_ids and not np.array_equal(ids, rated_ids[0]):
                    raise self._mismatch(f"other ids in {file.name}")
                yield Chunk(ids, lengths, domains, dict(zip(self.criteria, scores, strict=True)))

    def _domains(self, batch: pa.RecordBatch) -> np.ndarray:
        """(n,) int32: the codes of the domains of the rows; a new name gets the next code."""
        if self._domain_column is None:
            return np.zeros(len(batch), np.int32)
        first, *fields = [self._domain_column]
        if first not in batch.schema.names:
            first, *fields = self._domain_column.split(".")
        column: pa.Array = batch.column(first)
        for field in fields:
            column = column.field(field)
        if not pa.types.is_dictionary(column.type):
            column = column.cast(pa.string()).dictionary_encode()
        names = [str(name) for name in column.dictionary.to_pylist()]
        of_names = np.array([self._code_of(name) for name in names], dtype=np.int32)
        indices = column.indices
        if column.null_count:
            of_names = np.append(of_names, np.int32(self._code_of("none")))
            indices = indices.fill_null(len(names))
        return of_names[indices.to_numpy()]

    def _code_of(self, name: str) -> int:
        if name not in self._codes:
            self._codes[name] = len(self.domain_names)
            self.domain_names.append(name)
        return self._codes[name]

    def _check_sizes(self) -> None:
        """Check that the shards of the ratings match those of the corpus in names and numbers of rows."""
        assert self._rated is not None
        if [file.name for file in self._rated] != [file.name for file in self._files]:
            raise self._mismatch(f"{len(self._rated)} shards instead of {len(self._files)}, or other names")
        for file, size in zip(self._rated, self.file_sizes, strict=True):
            if (found := pq.read_metadata(file).num_rows) != size:
                raise self._mismatch(f"{file.name} has {found:,} rows, not {size:,}")

    def _mismatch(self, found: str) -> StageError:
        return another_corpus(f"{self._ratings} holds ratings of", self._corpus, found)


def _batches(file: Path, columns: Sequence[str], dictionary: str | None = None) -> Iterator[pa.RecordBatch]:
    # pre-buffering would hold whole columns of a row group in memory
    with pq.ParquetFile(
        file, read_dictionary=[dictionary] if dictionary else None, pre_buffer=False, buffer_size=_BYTES_AT_ONCE
    ) as parquet:
        # one thread: more would only compete with the one that reads ahead
        yield from parquet.iter_batches(_ROWS_AT_ONCE, columns=list(columns), use_threads=False)


def _rechunked(batches: Iterable[tuple[np.ndarray, ...]]) -> Iterator[tuple[np.ndarray, ...]]:
    """The same rows, `_ROWS_AT_ONCE` at a time: the ends of Parquet batches depend on the columns that are read."""
    waiting: tuple[np.ndarray, ...] | None = None
    for batch in batches:
        if waiting is not None:
            batch = tuple(np.concatenate(pair) for pair in zip(waiting, batch, strict=True))
        whole = len(batch[0]) - len(batch[0]) % _ROWS_AT_ONCE
        for start in range(0, whole, _ROWS_AT_ONCE):
            yield tuple(column[start : start + _ROWS_AT_ONCE] for column in batch)
        waiting = tuple(column[whole:] for column in batch) if whole < len(batch[0]) else None
    if waiting is not None:
        yield waiting


def _ids(batch: pa.RecordBatch) -> Ids:
    return as_ids(batch.column("id").to_numpy())


def _numbers(column: pa.Array) -> np.ndarray:
    """float64; null is NaN."""
    return column.to_numpy(zero_copy_only=False).astype(np.float64, copy=False)


def check_criteria(file: Path, criteria: Sequence[str]) -> None:
    """Refuse criteria that a shard of ratings does not have."""
    there = [name.removesuffix("_average") for name in pq.read_schema(file).names if name.endswith("_average")]
    if absent := [name for name in criteria if name not in there]:
        raise StageError(f"{file.parents[1]} has no ratings by {', '.join(absent)}; it has {', '.join(there)}")


def check_column(file: Path, column: str) -> None:
    """Refuse a column that a shard of a corpus does not have."""
    there = pq.read_metadata(file).schema
    names = [there.column(place).path for place in range(len(there))]
    if column not in names:
        raise StageError(
            f"{file} has no column {column}; it has {', '.join(names)}. A field of the source becomes one with "
            "corpus.keep_columns"
        )
