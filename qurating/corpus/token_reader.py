"""Sequences of a corpus as tokens of the tokenizer of a network.

A corpus with a tokenizer of three words, and two of its sequences; 0 ends a text:

>>> from tokenizers import Tokenizer
>>> from tokenizers.models import WordLevel
>>> from tokenizers.pre_tokenizers import Whitespace
>>> from transformers import PreTrainedTokenizerFast
>>> def tokenizer(**vocabulary):
...     words = Tokenizer(WordLevel({"<end>": 0, "<unknown>": 1} | vocabulary, unk_token="<unknown>"))
...     words.pre_tokenizer = Whitespace()
...     return PreTrainedTokenizerFast(tokenizer_object=words, eos_token="<end>", unk_token="<unknown>")
>>> own = tokenizer(to=2, be=3, rain=4)
>>> _ = own.save_pretrained(corpus / "tokenizer")
>>> rows = pa.table({"input_ids": [[2, 3, 0], [4]], "text": ["to be", "rain"]})

A network with the same tokenizer reads the ids of the corpus, without the end-of-text token:

>>> reader = TokenReader(corpus, own)
>>> reader.column, [ids.tolist() for ids in reader(rows)]
('input_ids', [[2, 3], [4]])

A network with another tokenizer reads the text. This one does not know "rain", and gets the unknown token:

>>> reader = TokenReader(corpus, tokenizer(be=2, to=3))
>>> reader.column, [ids.tolist() for ids in reader(rows)]
('text', [[3, 2], [1]])
"""

import functools
import json
import tempfile
from collections import deque
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from qurating.corpus.tokenizing import Tokens, check_ids, joined, tokens_of, vocabulary_size
from qurating.runtime.workers import in_workers

_TEXTS_AT_ONCE = 1000


class TokenReader:
    """Sequences of a corpus as tokens of the tokenizer of a network.

    With the tokenizer of the corpus, they are its `input_ids` without the end-of-text token that closes a document.
    With another tokenizer, the `text` is tokenised again, without special tokens. Each sequence has at least one token:
    an empty one gets the unknown token, or else the padding token.

    Args:
        corpus: a corpus artifact.
        tokenizer: the tokenizer of the network.

    Reading raises StageError for a token id of the corpus that its tokenizer does not have.
    """

    def __init__(self, corpus: Path, tokenizer: PreTrainedTokenizerBase) -> None:
        own = AutoTokenizer.from_pretrained(corpus / "tokenizer")
        self.tokenizer = tokenizer
        self.eos_token_id = own.eos_token_id
        self.corpus, self.vocabulary_size = corpus, vocabulary_size(own)
        self.is_own = tokenizer.get_vocab() == own.get_vocab() and _rules(tokenizer) == _rules(own)

    @property
    def column(self) -> str:
        """The column of the corpus that is read."""
        return "input_ids" if self.is_own else "text"

    @property
    def pad_token_id(self) -> int:
        """The token that pads batches; no rating depends on it."""
        known = (self.tokenizer.pad_token_id, self.tokenizer.eos_token_id, 0)
        return int(next(token for token in known if token is not None))

    def __call__(self, rows: pa.Table) -> list[npt.NDArray[np.int32]]:
        """The tokens of each row, int32 arrays."""
        (tokens,) = self.read([rows], num_workers=1)
        return np.split(tokens.input_ids, np.cumsum(tokens.lengths)[:-1]) if len(rows) else []

    def read(self, tables: Iterable[pa.Table], num_workers: int) -> Iterator[Tokens]:
        """The tokens of the rows of each table; `num_workers` processes tokenise the texts of a table in parallel."""
        for tokens in self._own(tables) if self.is_own else self._tokenised(tables, num_workers):
            yield self._without_empty(tokens)

    def _own(self, tables: Iterable[pa.Table]) -> Iterator[Tokens]:
        for table in tables:
            lists = table["input_ids"].combine_chunks()
            ids, lengths = lists.flatten().to_numpy().astype(np.int32, copy=False), lists.value_lengths().to_numpy()
            check_ids(ids, self.vocabulary_size, self.corpus)
            lengths = lengths.astype(np.int64)
            lasts = np.cumsum(lengths) - 1
            closed = (lengths > 1) & (ids[lasts] == self.eos_token_id) if len(ids) else np.zeros(len(lengths), bool)
            yield Tokens(np.delete(ids, lasts[closed]), lengths - closed)

    def _tokenised(self, tables: Iterable[pa.Table], num_workers: int) -> Iterator[Tokens]:
        num_parts: deque[int] = deque()  # of each table begun so far
        with tempfile.TemporaryDirectory() as folder:
            work: Any = self._by_python
            if self.tokenizer.is_fast:
                file = Path(folder, "tokenizer.json")
                self.tokenizer.backend_tokenizer.save(str(file))
                work = functools.partial(tokens_of, file=file)
            parts: list[Tokens] = []
            for part in in_workers(work, _parts(tables, num_parts), num_workers if self.tokenizer.is_fast else 1):
                parts.append(part)
                if len(parts) == num_parts[0]:
                    yield Tokens(*(np.concatenate(column) for column in zip(*parts, strict=True)))
                    parts.clear()
                    num_parts.popleft()

    def _by_python(self, texts: list[str]) -> Tokens:
        read = self.tokenizer(texts, add_special_tokens=False, split_special_tokens=True, verbose=False)
        return joined([np.array(ids, np.int32) for ids in read["input_ids"]])

    def _without_empty(self, tokens: Tokens) -> Tokens:
        """The same sequences, each empty one replaced by one filler token."""
        empty = np.flatnonzero(tokens.lengths == 0)
        nothing = self.tokenizer.unk_token_id
        filler = self.pad_token_id if nothing is None else nothing
        starts = np.cumsum(tokens.lengths) - tokens.lengths
        return Tokens(np.insert(tokens.input_ids, starts[empty], filler), np.maximum(tokens.lengths, 1))


def _parts(tables: Iterable[pa.Table], num_parts: deque[int]) -> Iterator[list[str]]:
    """The texts of all tables in parts, none across two tables; appends the number of parts of each to `num_parts`."""
    for table in tables:
        starts = range(0, max(1, len(table)), _TEXTS_AT_ONCE)
        num_parts.append(len(starts))
        for start in starts:
            yield table["text"].slice(start, _TEXTS_AT_ONCE).to_pylist()


def _rules(tokenizer: PreTrainedTokenizerBase) -> Any:
    """How a tokenizer turns a text into tokens, besides its vocabulary."""
    if not tokenizer.is_fast:
        return type(tokenizer).__name__
    backend = json.loads(tokenizer.backend_tokenizer.to_str())
    return [backend["normalizer"], backend["pre_tokenizer"], backend["model"].get("merges")]
