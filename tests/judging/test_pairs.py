"""The pairs that are drawn from a corpus: their number, and their sequences."""

from pathlib import Path

import numpy as np
import pytest
from judge_fixtures import EXPLANATION, make_corpus, real_corpus
from judge_stage import run, settings
from tokenizers import Tokenizer

from qurating.judging.pairs import _unranked, draw_pairs
from qurating.runtime.errors import StageError


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return real_corpus(tmp_path_factory.mktemp("corpus") / "c")


@pytest.mark.parametrize("texts", [[], [EXPLANATION], [EXPLANATION, "too short"]])
def test_a_corpus_of_fewer_than_two_sequences(tmp_path: Path, texts: list[str]) -> None:
    corpus = make_corpus(tmp_path / "c", {"d": texts})
    with pytest.raises(StageError, match="judging needs two"):
        run(tmp_path / "o", corpus, settings(num_pairs=1))


def test_pairs_never_repeat_and_use_every_sequence_once_where_there_are_enough(corpus: Path) -> None:
    tokenizer = Tokenizer.from_file(str(corpus / "tokenizer" / "tokenizer.json"))
    once = draw_pairs(corpus / "train", tokenizer, 30, 20, 64, seed=3)
    used = [*once.first, *once.second]
    assert sorted(used) == list(range(60))
    many = draw_pairs(corpus / "train", tokenizer, 500, 20, 64, seed=3)
    assert len({frozenset(pair) for pair in zip(many.first.tolist(), many.second.tolist(), strict=True)}) == 500
    assert all(len(pair) == 2 for pair in map(set, zip(many.first, many.second, strict=True)))
    assert len(set(many.ids)) == len(many.ids) == 61
    assert many.num_too_short == 3
    snippets = dict(zip(many.ids, many.texts, strict=True))
    assert all(snippets[sequence] == text for sequence, text in zip(once.ids, once.texts, strict=True))


def test_all_pairs_have_a_number() -> None:
    first, second = _unranked(np.arange(45))
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == [(i, j) for j in range(10) for i in range(j)]
    large = 250_000 * 249_999 // 2
    first, second = _unranked(np.array([large - 1, large]))
    assert (first.tolist(), second.tolist()) == ([249_998, 0], [249_999, 250_000])
