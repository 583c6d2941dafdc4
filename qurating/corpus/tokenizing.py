"""Documents as sequences of tokens, and tokenizers for them.

A document of n tokens becomes ceil(n / L) pieces of L tokens (the last may be shorter): no token is dropped. The texts
of the pieces, joined, are exactly the text of the document.
"""

import contextlib
import functools
import json
import shutil
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers

from qurating.artifacts.files import write_json
from qurating.runtime.errors import StageError
from qurating.runtime.revisions import loadable

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

END_OF_TEXT = "<|endoftext|>"
# An Encoding takes some hundred bytes per token, so a long document is encoded in stretches of this many characters.
MAX_CHARACTERS_PER_ENCODING = 200_000
# Runs without a boundary between words, such as 200,000 letters, are learned from in parts of this size: else a token
# may be as long as the run, and the training takes minutes. Words of real text and code are shorter.
MAX_BYTES_PER_TOKEN = 512
_MARGIN = 8  # characters at both ends that are not compared: markers of the beginning, parts of characters


class Piece(NamedTuple):
    """A part of a document: `input_ids` is int32 of shape (length,)."""

    text: str
    input_ids: npt.NDArray[np.int32]


class TextTokenizer(NamedTuple):
    """A tokenizer set up for whole documents (no truncation, no special tokens), and its end-of-text id."""

    tokenizer: Tokenizer
    eos_token_id: int


def train_bpe(texts: Iterable[str], vocabulary_size: int, folder: Path) -> None:
    """Train a byte-level BPE on texts and save it as a Hugging Face tokenizer with the one special token END_OF_TEXT.

    No token is longer than MAX_BYTES_PER_TOKEN. The result depends only on the texts and their order. Raises StageError
    if the vocabulary cannot hold the bytes.
    """
    smallest = 256 + 1
    if vocabulary_size < smallest:
        raise StageError(f"vocabulary_size is {vocabulary_size}; the 256 bytes and {END_OF_TEXT} need {smallest}")
    tokenizer = Tokenizer(models.BPE())
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([words, pre_tokenizers.FixedLength(MAX_BYTES_PER_TOKEN)])
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary_size,
        special_tokens=[END_OF_TEXT],
        initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        show_progress=False,
    )
    tokenizer.train_from_iterator((part for text in texts for part in stretches(text)), trainer)
    tokenizer.pre_tokenizer = words  # the bound is one of learning: no text is split by it
    # Without transformers: importing it to write these five settings takes longer than the training.
    settings = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "eos_token": END_OF_TEXT,
        "pad_token": END_OF_TEXT,
        "clean_up_tokenization_spaces": False,
        "model_max_length": int(1e30),  # what transformers writes for no limit
    }
    with _replacing_folder(folder) as temporary:
        tokenizer.save(str(temporary / "tokenizer.json"))
        write_json(temporary / "tokenizer_config.json", settings)


def fetch_tokenizer(name: str, folder: Path, token: str | None, token_variable: str) -> None:
    """Save the tokenizer with a Hugging Face name or a path in `folder`; raises StageError with the way out."""
    from transformers import AutoTokenizer

    try:
        found = AutoTokenizer.from_pretrained(**loadable(name, token), token=token)
    except (OSError, ValueError, KeyError, ImportError) as error:
        reason = str(error).strip().splitlines()[0]
        raise StageError(
            f"the tokenizer {name!r} cannot be loaded: {reason}\n"
            f"  If it is a gated model, ask for access at https://huggingface.co/{name} and set {token_variable}; "
            "or name a folder that holds it; or train one on the corpus: tokenizer=null"
        ) from error
    if not found.is_fast:
        raise StageError(f"the tokenizer {name!r} has no fast version, which is needed for the positions of tokens")
    if found.eos_token_id is None:
        raise StageError(f"the tokenizer {name!r} has no end-of-text token (eos_token), which ends each document")
    with _replacing_folder(folder) as temporary:
        save(found, temporary)


def save(tokenizer: "PreTrainedTokenizerBase", folder: Path) -> None:
    """Save a tokenizer as a Hugging Face folder, the same files with and without access to the Hub.

    transformers notes whether it was offline (HF_HUB_OFFLINE) when it loaded the tokenizer: a model made on a machine
    without network would have another fingerprint.
    """
    if "local_files_only" in tokenizer.init_kwargs:
        tokenizer.init_kwargs["local_files_only"] = False
    tokenizer.save_pretrained(folder)


@contextlib.contextmanager
def _replacing_folder(folder: Path) -> Iterator[Path]:
    """A temporary folder that replaces `folder` if the block succeeds."""
    temporary = folder.with_name(f".{folder.name}.tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    temporary.mkdir(parents=True)
    yield temporary
    shutil.rmtree(folder, ignore_errors=True)
    temporary.rename(folder)


@functools.lru_cache(maxsize=2)
def load(folder: Path) -> TextTokenizer:
    """The tokenizer in a folder, without importing transformers, which takes seconds in every worker."""
    # A text that contains "<|endoftext|>" is about tokenizers; this does not end the document.
    tokenizer = _from_file(folder / "tokenizer.json")
    eos = json.loads((folder / "tokenizer_config.json").read_text(encoding="utf-8"))["eos_token"]
    eos_token_id = tokenizer.token_to_id(eos["content"] if isinstance(eos, dict) else eos)
    if eos_token_id is None:
        raise StageError(f"{folder}: the end-of-text token {eos!r} is not in the vocabulary")
    return TextTokenizer(tokenizer, eos_token_id)


class HasVocabulary(Protocol):
    """A tokenizer of tokenizers or of transformers."""

    def get_vocab(self) -> dict[str, int]: ...


def vocabulary_size(tokenizer: HasVocabulary) -> int:
    """The number of rows of a table of all token ids: the highest id + 1, added tokens included.

    It exceeds the number of tokens where ids have gaps.
    """
    return max(tokenizer.get_vocab().values()) + 1


def check_ids(input_ids: npt.NDArray[np.integer], size: int, source: Path) -> None:
    """Raise StageError for a token id of a corpus that its vocabulary of `size` ids does not have.

    Args:
        input_ids: any shape.
        size: see `vocabulary_size`.
        source: the file or folder with the ids, for the message.
    """
    if input_ids.size and (input_ids.min() < 0 or input_ids.max() >= size):
        strange = int(input_ids.max()) if input_ids.max() >= size else int(input_ids.min())
        raise StageError(
            f"{source} has the token id {strange:,}, and the ids of its tokenizer end at {size - 1:,}: the tokens or "
            "the tokenizer of the corpus were changed. Prepare the corpus again (delete its folder, or overwrite=true)"
        )


class Tokens(NamedTuple):
    """Token sequences one after another: `input_ids` int32 (tokens,), `lengths` int64 (sequences,)."""

    input_ids: npt.NDArray[np.int32]
    lengths: npt.NDArray[np.int64]


def tokens_of(texts: Sequence[str], file: Path) -> Tokens:
    """The tokens of texts by the tokenizer in a `tokenizer.json`, without special tokens; runs in worker processes."""
    # a special token that a text spells out is plain text
    encodings = _from_file(file).encode_batch_fast(list(texts), add_special_tokens=False)
    return joined([np.array(encoding.ids, dtype=np.int32) for encoding in encodings])


def joined(sequences: Sequence[npt.NDArray[np.int32]]) -> Tokens:
    """Sequences as `Tokens`."""
    lengths = np.array([len(ids) for ids in sequences], dtype=np.int64)
    return Tokens(np.concatenate([np.empty(0, np.int32), *sequences]), lengths)


@functools.lru_cache(maxsize=2)
def _from_file(file: Path) -> Tokenizer:
    tokenizer = Tokenizer.from_file(str(file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    tokenizer.encode_special_tokens = True
    return tokenizer


def stretches(text: str, max_characters: int = MAX_CHARACTERS_PER_ENCODING) -> Iterator[str]:
    """A long text in parts of at most `max_characters`, cut before a single space between words if possible.

    Byte-level tokenizers always split there, so that the tokens are those of the whole text.
    """
    start = 0
    while len(text) - start > max_characters:
        end = start + max_characters
        cut = end
        while (cut := text.rfind(" ", start + max_characters // 2, cut)) > 0:
            if text[cut - 1].isalnum() and text[cut + 1].isalnum():
                break
        end = cut if cut > 0 else end
        yield text[start:end]
        start = end
    yield text[start:]


def encode(tokenizer: Tokenizer, text: str) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.int64]]:
    """Token ids, and for each token how many characters of the text it and those before it cover; both of shape (n,).

    If several tokens share a character, the first one covers it. Characters between two tokens (spaces that offsets
    leave out) are covered by the later one. The counts never decrease.
    """
    ids: list[npt.NDArray[np.int32]] = []
    ends: list[npt.NDArray[np.int64]] = []
    start = 0
    for part in stretches(text):
        encoding = tokenizer.encode(part, add_special_tokens=False)
        ids.append(np.array(encoding.ids, dtype=np.int32))
        ends.append(np.array([end for _, end in encoding.offsets], dtype=np.int64) + start)
        start += len(part)
    return np.concatenate(ids), np.maximum.accumulate(np.concatenate(ends))


def given_piece(text: str, input_ids: npt.NDArray[np.int32], tokenizer: TextTokenizer) -> Piece:
    """A sequence that is tokenised already; an empty text is decoded from the tokens."""
    return Piece(text or tokenizer.tokenizer.decode(input_ids.tolist(), skip_special_tokens=False), input_ids)


def spells(input_ids: npt.NDArray[np.int32], text: str, tokenizer: TextTokenizer) -> bool:
    """Whether tokens are those of a text, by the longest part of them that can be decoded.

    White space does not count, nor do the ends, where characters may be cut. If hardly anything can be decoded, true.
    """
    found = "".join(tokenizer.tokenizer.decode(input_ids.tolist(), skip_special_tokens=False).split())
    # one cut character makes a whole run of bytes illegible
    return max(found[_MARGIN:-_MARGIN].split("\ufffd"), key=len) in "".join(text.split())


def pieces(text: str, tokenizer: TextTokenizer, sequence_length: int) -> list[Piece]:
    """The sequences of a document, at most `sequence_length` tokens each; none if the text has no tokens.

    The last one ends with the end-of-text token if it is shorter than `sequence_length` without it.
    """
    ids, ends = encode(tokenizer.tokenizer, text)
    made = []
    begin = 0
    for first in range(0, len(ids), sequence_length):
        last = first + sequence_length
        end = len(text) if last >= len(ids) else int(ends[last - 1])
        made.append(Piece(text[begin:end], ids[first:last]))
        begin = end
    if made and len(made[-1].input_ids) < sequence_length:
        made[-1] = Piece(made[-1].text, np.append(made[-1].input_ids, np.int32(tokenizer.eos_token_id)))
    return made
