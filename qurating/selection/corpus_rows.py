"""The rows of a corpus that selections go by: ids, lengths, domains and ratings, read column by column."""

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
    """The training sequences of a corpus, in its order; their text and tokens are not read. See `survey.Rows`.

    Args:
        corpus: a corpus artifact.
        ratings: of it, row for row; None where nothing is rated.
        criteria: whose ratings are read.
        domain_column: of the corpus, dotted if it lies within another; null there is a domain of its own, called
            `none`. None: all rows are of one domain.
        doing: what the progress bar says.

    Raises:
        StageError: a column or criterion that there is not (lists those that there are); ratings of other rows.
    """

    def __init__(
        self,
        corpus: Path,
        ratings: Path | None,
        criteria: Sequence[str],
        domain_column: str | None = "domain",
        doing: str = "selecting",
    ) -> None:
        self.criteria = list(criteria)
        self.domain_names: list[str] = []
        self.num_passes = 0
        self._doing = doing
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
        """Of at most 65,536 rows; no chunk reaches over the end of a shard. The next are read meanwhile."""
        self.num_passes += 1
        progress = tqdm(
            total=len(self), desc=f"{self._doing}, pass {self.num_passes}", unit="row", unit_scale=True, mininterval=0.5
        )
        with progress:
            for chunk in ahead(self._read(), _CHUNKS_AHEAD):
                yield chunk
                progress.update(len(chunk.ids))

    def _read(self) -> Iterator[Chunk]:
        columns = ["id", "length", *([self._domain_column] if self._domain_column else [])]
        names = [f"{name}_average" for name in self.criteria]
        rated = [*names, *(["id"] if self.num_passes == 1 else [])]  # compared once
        for place, file in enumerate(self._files):
            there = (
                (_ids(batch), batch.column("length").to_numpy(), self._domains(batch))
                for batch in _batches(file, columns, self._domain_column)
            )
            if self._rated is None:
                for ids, lengths, domains in _rechunked(there):
                    yield Chunk(ids, lengths, domains, {})
                continue
            beside = (
                (
                    *(_numbers(batch.column(name)) for name in names),
                    *(_ids(batch) for name in rated[len(names) :]),
                )
                for batch in _batches(self._rated[place], rated)
            )
            for (ids, lengths, domains), found in zip(_rechunked(there), _rechunked(beside), strict=True):
                scores, rated_ids = found[: len(names)], found[len(names) :]
                if rated_ids and not np.array_equal(ids, rated_ids[0]):
                    raise self._other(f"other ids in {file.name}")
                yield Chunk(ids, lengths, domains, dict(zip(self.criteria, scores, strict=True)))

    def _domains(self, batch: pa.RecordBatch) -> np.ndarray:
        """(n,) int32: the codes of the rows' domains; a name that is new is given the next one."""
        if self._domain_column is None:
            return np.zeros(len(batch), np.int32)
        column: pa.Array = batch.column(self._domain_column.split(".")[0])
        for field in self._domain_column.split(".")[1:]:
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
        """The shards of the ratings stand beside those of the corpus, and have as many rows."""
        assert self._rated is not None
        if [file.name for file in self._rated] != [file.name for file in self._files]:
            raise self._other(f"{len(self._rated)} shards against {len(self._files)}, or of other names")
        for file, size in zip(self._rated, self.file_sizes, strict=True):
            if (found := pq.read_metadata(file).num_rows) != size:
                raise self._other(f"{file.name} has {found:,} rows, not {size:,}")

    def _other(self, found: str) -> StageError:
        return another_corpus(f"{self._ratings} holds ratings of", self._corpus, found)


def _batches(file: Path, columns: Sequence[str], dictionary: str | None = None) -> Iterator[pa.RecordBatch]:
    # pre-buffered, a row group's columns would be held whole
    with pq.ParquetFile(
        file, read_dictionary=[dictionary] if dictionary else None, pre_buffer=False, buffer_size=_BYTES_AT_ONCE
    ) as parquet:
        # a thread: several would only fight with the one that reads ahead
        yield from parquet.iter_batches(_ROWS_AT_ONCE, columns=list(columns), use_threads=False)


def _rechunked(batches: Iterable[tuple[np.ndarray, ...]]) -> Iterator[tuple[np.ndarray, ...]]:
    """The same rows, `_ROWS_AT_ONCE` at a time: where Parquet ends a batch depends on the columns that are read."""
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
    """Refuse criteria that a shard of ratings has not."""
    there = [name.removesuffix("_average") for name in pq.read_schema(file).names if name.endswith("_average")]
    if absent := [name for name in criteria if name not in there]:
        raise StageError(f"{file.parents[1]} has no ratings by {', '.join(absent)}; there are {', '.join(there)}")


def check_column(file: Path, column: str) -> None:
    """Refuse a column that a shard of a corpus has not."""
    there = pq.read_metadata(file).schema
    names = [there.column(place).path for place in range(len(there))]
    if column not in names:
        raise StageError(f"{file} has no column {column}; there are {', '.join(names)}")
