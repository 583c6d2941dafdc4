"""Reading a corpus in the tokens of another tokenizer."""

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from rating_example import shards
from scorer_fixtures import corpus_of_paragraphs
from transformers import AutoTokenizer
from transformers.tokenization_utils_base import PreTrainedTokenizerBase

from qurating.corpus.token_reader import TokenReader
from qurating.corpus.tokenizing import train_bpe
from qurating.runtime.errors import StageError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return corpus_of_paragraphs(tmp_path_factory.mktemp("corpus"), num_paragraphs=80)


@pytest.fixture(scope="module")
def foreign(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> PreTrainedTokenizerBase:
    """Another tokenizer than the corpus'."""
    folder = tmp_path_factory.mktemp("foreign")
    train_bpe(pq.read_table(shards(corpus)[0])["text"].to_pylist(), 300, folder)
    return AutoTokenizer.from_pretrained(folder)


@pytest.mark.parametrize("num_workers", [1, 2])
def test_texts_are_tokenised_in_order_by_any_number_of_workers(
    corpus: Path, foreign: PreTrainedTokenizerBase, num_workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("qurating.corpus.token_reader._TEXTS_AT_ONCE", 7)
    reader = TokenReader(corpus, foreign)
    assert not reader.is_own
    tables = [pq.read_table(file) for file in shards(corpus)]
    place = tables[1].schema.get_field_index("text")
    tables[1] = tables[1].set_column(place, "text", pa.array(["", *tables[1]["text"].to_pylist()[1:]]))
    for table, tokens in zip(tables, reader.read(iter(tables), num_workers), strict=True):
        expected = [foreign(text, add_special_tokens=False)["input_ids"] for text in table["text"].to_pylist()]
        expected = [ids or [foreign.eos_token_id] for ids in expected]
        assert tokens.lengths.tolist() == [len(ids) for ids in expected]
        assert tokens.input_ids.tolist() == [token for ids in expected for token in ids]


def test_the_same_vocabulary_by_other_rules_is_another_tokenizer(corpus: Path) -> None:
    from tokenizers import pre_tokenizers

    own = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    assert TokenReader(corpus, own).is_own
    other = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    other.backend_tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=True)
    assert not TokenReader(corpus, other).is_own


def test_an_id_that_the_tokenizer_of_the_corpus_does_not_have_is_named(corpus: Path) -> None:
    own = AutoTokenizer.from_pretrained(corpus / "tokenizer")
    reader = TokenReader(corpus, own)
    beyond = max(own.get_vocab().values()) + 1
    with pytest.raises(StageError, match=rf"corpus.* has the token id {beyond:,}"):
        reader(pa.table({"input_ids": pa.array([[1, beyond]], pa.list_(pa.int32()))}))
