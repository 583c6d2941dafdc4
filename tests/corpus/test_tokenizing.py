"""Tokenizers, and the splitting of documents."""

import os
import random
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from gaps_example import tokenizer_with_gaps
from hypothesis import given, settings
from hypothesis import strategies as st
from repository import ROOT
from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import AutoTokenizer, PreTrainedTokenizerFast

from qurating.corpus import tokenizing
from qurating.runtime.errors import StageError

TEXTS = [
    "The quick brown fox jumps over the lazy dog, and the dog does not mind.",
    "数据选择决定语言模型学到什么。我们用评分来选择文本。" * 3,
    "emoji 👩‍👩‍👧‍👦 and 🇬🇧 and 🤷🏽‍♀️ in a row: 🎉🎉🎉",
    "def f(x):\n\treturn x ** 2  # spaces   and\ttabs\n\n\n",
    "e\u0301 combining, ﬁ ligature, Ⅷ numeral, \u200b zero width, \ufeff mark",
]


@pytest.fixture(scope="module")
def own(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("own") / "tokenizer"
    tokenizing.train_bpe(TEXTS * 5, 400, folder)
    return folder


@pytest.fixture(scope="module")
def llama_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Laid out as Llama-2's: "▁" for spaces and before the text, byte fallback, a BOS that is added by itself."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token="<unk>", fuse_unk=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    byte_tokens = [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(vocab_size=330, special_tokens=["<unk>", "<s>", "</s>", *byte_tokens])
    tokenizer.train_from_iterator([text for text in TEXTS if text.isascii()], trainer)
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", special_tokens=[("<s>", 1)])
    tokenizer.enable_truncation(8)
    folder = tmp_path_factory.mktemp("llama")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", bos_token="<s>").save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def word_like(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A tokenizer that drops white space and case, and trims offsets, as BERT's does."""
    tokenizer = Tokenizer(models.WordPiece(unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True)
    tokenizer.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    tokenizer.train_from_iterator(TEXTS, trainers.WordPieceTrainer(vocab_size=300, special_tokens=["[UNK]", "[SEP]"]))
    folder = tmp_path_factory.mktemp("bert")
    PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="[SEP]", unk_token="[UNK]").save_pretrained(folder)
    return folder


def assert_whole(text: str, folder: Path, sequence_length: int) -> list[tokenizing.Piece]:
    """The pieces hold the text and all its tokens; returns them."""
    loaded = tokenizing.load(folder)
    made = tokenizing.pieces(text, loaded, sequence_length)
    ids = loaded.tokenizer.encode(text, add_special_tokens=False).ids
    assert "".join(piece.text for piece in made) == (text if ids else "")
    assert all(len(piece.input_ids) == sequence_length for piece in made[:-1])
    has_room = len(ids) % sequence_length != 0
    expected = [*ids, loaded.eos_token_id] if has_room else ids
    assert [i for piece in made for i in piece.input_ids.tolist()] == expected
    assert all(piece.input_ids.dtype == np.int32 for piece in made)
    return made


@pytest.mark.parametrize("text", TEXTS)
@pytest.mark.parametrize("sequence_length", [2, 3, 7, 64])
@pytest.mark.parametrize("which", ["own", "llama_like", "word_like"])
def test_pieces_hold_the_whole_document(
    text: str, sequence_length: int, which: str, request: pytest.FixtureRequest
) -> None:
    assert_whole(text, request.getfixturevalue(which), sequence_length)


@given(text=st.text(max_size=60), sequence_length=st.integers(2, 9))
@settings(max_examples=150, deadline=None)
def test_pieces_hold_any_text(own: Path, text: str, sequence_length: int) -> None:
    made = assert_whole(text, own, sequence_length)
    loaded = tokenizing.load(own)
    ids = [i for piece in made for i in piece.input_ids.tolist() if i != loaded.eos_token_id]
    assert loaded.tokenizer.decode(ids, skip_special_tokens=False) == text


def test_pieces_cut_between_the_words_that_their_tokens_cover(own: Path) -> None:
    loaded = tokenizing.load(own)
    made = tokenizing.pieces(TEXTS[0], loaded, 8)
    assert len(made) > 2
    for piece in made[:-1]:
        assert loaded.tokenizer.decode(piece.input_ids.tolist()) == piece.text


def test_text_that_spells_a_special_token_is_text(own: Path) -> None:
    loaded = tokenizing.load(own)
    (piece,) = tokenizing.pieces("a <|endoftext|> b", loaded, 64)
    assert piece.input_ids.tolist().count(loaded.eos_token_id) == 1
    assert piece.input_ids[-1] == loaded.eos_token_id


def test_end_of_text_comes_only_where_there_is_room(own: Path) -> None:
    loaded = tokenizing.load(own)
    ids = loaded.tokenizer.encode(TEXTS[0], add_special_tokens=False).ids
    (full,) = tokenizing.pieces(TEXTS[0], loaded, len(ids))
    (roomy,) = tokenizing.pieces(TEXTS[0], loaded, len(ids) + 1)
    assert full.input_ids.tolist() == ids
    assert roomy.input_ids.tolist() == [*ids, loaded.eos_token_id]


def test_training_is_deterministic_and_loads_with_transformers(own: Path, tmp_path: Path) -> None:
    tokenizing.train_bpe(iter(TEXTS * 5), 400, tmp_path / "again")
    for name in ("tokenizer.json", "tokenizer_config.json"):
        assert (own / name).read_bytes() == (tmp_path / "again" / name).read_bytes()
    loaded = AutoTokenizer.from_pretrained(own)
    assert len(loaded) == 400
    assert loaded.eos_token == loaded.pad_token == tokenizing.END_OF_TEXT
    assert loaded.eos_token_id == tokenizing.load(own).eos_token_id
    for text in TEXTS:
        assert loaded.decode(loaded(text)["input_ids"]) == text
        assert loaded(text)["input_ids"] == tokenizing.load(own).tokenizer.encode(text).ids


def test_vocabulary_that_cannot_hold_the_bytes_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"vocabulary_size is 200.*257"):
        tokenizing.train_bpe(TEXTS, 200, tmp_path / "tokenizer")


def test_tokenizer_by_path_is_copied(llama_like: Path, tmp_path: Path) -> None:
    tokenizing.fetch_tokenizer(str(llama_like), tmp_path / "copy", None, "HF_TOKEN")
    assert_whole("the dog " * 20, tmp_path / "copy", 16)


def test_unknown_tokenizer_tells_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(StageError, match=r"cannot be loaded(.|\n)*MY_TOKEN(.|\n)*tokenizer=null"):
        tokenizing.fetch_tokenizer(str(tmp_path / "nothing"), tmp_path / "copy", None, "MY_TOKEN")
    assert not (tmp_path / "copy").exists()


def test_tokenizer_without_an_end_of_text_is_refused(own: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.from_file(str(own / "tokenizer.json"))
    PreTrainedTokenizerFast(tokenizer_object=tokenizer).save_pretrained(tmp_path / "no_eos")
    with pytest.raises(StageError, match="no end-of-text token"):
        tokenizing.fetch_tokenizer(str(tmp_path / "no_eos"), tmp_path / "copy", None, "HF_TOKEN")


def test_stretches_are_the_text_and_keep_the_tokens(own: Path) -> None:
    words = ["fox", "dog", "数据", "🎉", "jumps,", "over\n", "lazy\t", "mind."]
    text = " ".join(random.Random(0).choices(words, k=5000))
    parts = list(tokenizing.stretches(text, 1000))
    assert "".join(parts) == text
    assert len(parts) > 20
    assert max(map(len, parts)) <= 1000
    tokenizer = tokenizing.load(own).tokenizer
    whole = tokenizer.encode(text, add_special_tokens=False).ids
    assert [i for part in parts for i in tokenizer.encode(part, add_special_tokens=False).ids] == whole


def test_stretches_of_text_without_spaces() -> None:
    assert list(tokenizing.stretches("x" * 25, 10)) == ["x" * 10, "x" * 10, "x" * 5]
    assert list(tokenizing.stretches("", 10)) == [""]


def test_document_of_five_million_tokens(own: Path) -> None:
    loaded = tokenizing.load(own)
    text = "8🎉 " * 1_700_000  # three tokens and more each time
    made = tokenizing.pieces(text, loaded, 1024)
    assert sum(len(piece.input_ids) for piece in made) >= 5_000_000
    assert all(len(piece.input_ids) == 1024 for piece in made[:-1])
    assert "".join(piece.text for piece in made) == text


def test_the_size_of_a_vocabulary_counts_gaps_and_added_tokens(own: Path, tmp_path: Path) -> None:
    plain = AutoTokenizer.from_pretrained(own)
    assert tokenizing.vocabulary_size(plain) == tokenizing.vocabulary_size(tokenizing.load(own).tokenizer) == 400
    plain.add_tokens(["one more"])
    assert tokenizing.vocabulary_size(plain) == 401
    folder = tokenizer_with_gaps(tmp_path, highest=299)
    far = AutoTokenizer.from_pretrained(folder)
    assert len(far) == 257
    assert tokenizing.vocabulary_size(far) == tokenizing.vocabulary_size(tokenizing.load(folder).tokenizer) == 300


def test_ids_that_a_tokenizer_does_not_have_are_named() -> None:
    tokenizing.check_ids(np.empty(0, np.int32), 5, Path("x"))
    tokenizing.check_ids(np.array([0, 4], np.uint16), 5, Path("x"))
    for strange in (5, -1):
        with pytest.raises(StageError, match=f"x has the token id {strange}, and the ids of its tokenizer end at 4"):
            tokenizing.check_ids(np.array([2, strange]), 5, Path("x"))


@pytest.mark.parametrize("character", ["x", "-", " ", "7", "好"])
def test_a_run_without_a_boundary_makes_no_token_of_its_length(tmp_path: Path, character: str) -> None:
    tokenizing.train_bpe([character * 30_000, "a few words more"], 2000, tmp_path / "t")
    loaded = tokenizing.load(tmp_path / "t")
    longest = max(map(len, loaded.tokenizer.get_vocab()))
    assert 200 < longest <= tokenizing.MAX_BYTES_PER_TOKEN
    text = character * 2000  # which is not split at the bound, but by the longest tokens
    ids = loaded.tokenizer.encode(text, add_special_tokens=False).ids
    assert loaded.tokenizer.decode(ids) == text
    assert len(ids) <= 2 * len(text.encode()) / longest + 10


def test_texts_without_such_runs_make_the_same_tokenizer_as_without_the_bound(
    own: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tokenizing, "MAX_BYTES_PER_TOKEN", 10**6)
    tokenizing.train_bpe(TEXTS * 5, 400, tmp_path / "t")
    assert (tmp_path / "t/tokenizer.json").read_bytes() == (own / "tokenizer.json").read_bytes()


@pytest.mark.parametrize("name", ["own", "llama_like"])
def test_tokens_spell_the_text_that_they_were_made_from(name: str, request: pytest.FixtureRequest) -> None:
    tokenizer = tokenizing.load(request.getfixturevalue(name))
    for text in TEXTS:
        ids, _ = tokenizing.encode(tokenizer.tokenizer, text)
        decoded = tokenizing.given_piece("", ids, tokenizer)
        assert decoded.text.strip() == text.strip()
        assert tokenizing.spells(ids, text, tokenizer)
        assert tokenizing.spells(ids[1:-1], f"...{text}", tokenizer), "the ends may be cut"
        if text.isascii():
            assert not tokenizing.spells(ids, text[::-1], tokenizer)
            assert not tokenizing.spells(ids[::-1], text, tokenizer)
        assert tokenizing.given_piece(text, ids, tokenizer) == (text, ids)


def test_a_saved_tokenizer_does_not_tell_whether_the_hub_could_be_reached(own: Path, tmp_path: Path) -> None:
    code = """
import sys
from pathlib import Path
from transformers import AutoTokenizer
from qurating.corpus import tokenizing
tokenizing.save(AutoTokenizer.from_pretrained(sys.argv[1]), Path(sys.argv[2]))
"""
    found = []
    for offline in ("0", "1"):
        environment = os.environ | {"HF_HUB_OFFLINE": offline, "PYTHONPATH": str(ROOT)}
        folder = tmp_path / offline
        subprocess.run([sys.executable, "-c", code, str(own), str(folder)], env=environment, check=True, timeout=600)
        found.append({file.name: file.read_bytes() for file in folder.iterdir()})
    assert found[0] == found[1]
    assert "tokenizer.json" in found[0]
