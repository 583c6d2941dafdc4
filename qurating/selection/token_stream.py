"""The tokens of a subset in training order, as one stream that is mapped into memory for training."""

from pathlib import Path

import numpy as np
import pyarrow as pa
from tokenizers import Tokenizer
from tqdm import tqdm

from qurating.artifacts.files import write_table
from qurating.corpus.sequences import find_subset
from qurating.corpus.tokenizing import check_ids, vocabulary_size
from qurating.runtime.errors import StageError
from qurating.selection.ordering import Indices

_ROWS_AT_ONCE = 2**14
_SHORT = 256  # tokens per sequence, on average


def write_in_order(folder: Path, corpus: Path, index: pa.Table, permutation: Indices) -> int:
    """Write `order.parquet` (`id`, `offset`, `length`; in training order) and `tokens.npy`, the token stream.

    Args:
        corpus: the corpus with the tokens.
        index: `id`, `shard`, `row` and `length` of the sequences, in corpus order.
        permutation: positions in the index, in training order.

    Returns:
        the number of tokens.

    Raises:
        StageError: the index is of another corpus, or the corpus was changed since; a token id beyond the tokenizer.
    """
    ids, lengths = index["id"].to_numpy(), index["length"].to_numpy().astype(np.int64)
    offsets = np.empty(len(ids), np.int64)
    offsets[permutation] = np.cumsum(lengths[permutation]) - lengths[permutation]
    columns = {"id": ids[permutation], "offset": offsets[permutation], "length": lengths[permutation].astype(np.int32)}
    write_table(folder / "order.parquet", pa.table(columns))
    num_tokens = int(lengths.sum())
    _write_tokens(folder / "tokens.npy", corpus, index, offsets, num_tokens)
    return num_tokens


def _write_tokens(path: Path, corpus: Path, index: pa.Table, offsets: Indices, num_tokens: int) -> None:
    """Copy the tokens of each sequence to its offset, shard by shard."""
    size = vocabulary_size(Tokenizer.from_file(str(corpus / "tokenizer/tokenizer.json")))
    dtype = np.uint16 if size <= 2**16 else np.uint32
    mapped = np.lib.format.open_memmap(path, mode="w+", dtype=dtype, shape=(num_tokens,))
    stream = mapped.view(np.ndarray)  # slices of a memmap are slow to make
    lengths = index["length"].to_numpy()
    with tqdm(total=num_tokens, desc="tokens in order", unit="token", unit_scale=True, mininterval=0.5) as progress:
        for found in find_subset(corpus, index, ["input_ids"], _ROWS_AT_ONCE):
            sequences = found.batch.column("input_ids")
            bounds = sequences.offsets.to_numpy()
            starts, ends = bounds[found.rows], bounds[found.rows + 1]
            if not np.array_equal(ends - starts, lengths[found.places]):
                raise StageError(f"{found.file}: lengths differ from those of input_ids: the corpus was changed")
            tokens = sequences.values.to_numpy()
            check_ids(tokens, size, found.file)  # an id of more bits would become another
            _copy(stream, offsets[found.places], tokens, starts, ends)
            progress.update(int((ends - starts).sum()))
    mapped.flush()


def _copy(stream: np.ndarray, targets: np.ndarray, tokens: np.ndarray, starts: np.ndarray, ends: np.ndarray) -> None:
    """Copy tokens[start:end] to each target: one by one, or, if they are short, all at once by their indices."""
    lengths = (ends - starts).astype(np.int64)
    total = int(lengths.sum())
    if total > _SHORT * len(lengths):
        for target, start, end in zip(targets.tolist(), starts.tolist(), ends.tolist(), strict=True):
            stream[target : target + end - start] = tokens[start:end]
        return
    before = np.cumsum(lengths) - lengths
    running = np.arange(total)
    stream[np.repeat(targets - before, lengths) + running] = tokens[np.repeat(starts - before, lengths) + running]
