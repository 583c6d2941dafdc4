"""The pairs that are drawn from a corpus: their number, and their sequences."""

import itertools
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from compression_example import ENDINGS, written
from judge_fixtures import EXPLANATION, make_corpus, real_corpus
from judge_stage import run, settings
from tokenizers import Tokenizer

from qurating.judging.pairs import Pairs, _in_random_order, _layout, _rank, _unranked, draw_pairs, read_ranking
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


def texts_of(pairs: Pairs) -> list[tuple[str, str]]:
    return [(pairs.texts[i], pairs.texts[j]) for i, j in zip(pairs.first, pairs.second, strict=True)]


@pytest.mark.parametrize("triple_fraction", [0.0, 0.3, 1.0])
def test_fewer_pairs_are_the_first_of_more(corpus: Path, triple_fraction: float) -> None:
    """Also where the larger draw needs every sequence several times: 61 can be judged, thirty pairs take 60."""
    tokenizer = Tokenizer.from_file(str(corpus / "tokenizer" / "tokenizer.json"))
    most = texts_of(draw_pairs(corpus / "train", tokenizer, 400, 20, 64, 3, triple_fraction))
    assert len({frozenset(pair) for pair in most}) == 400
    for number in (1, 2, 19, 20, 21, 30, 31, 60, 399):
        drawn = draw_pairs(corpus / "train", tokenizer, number, 20, 64, 3, triple_fraction)
        assert texts_of(drawn) == most[:number]
    assert texts_of(draw_pairs(corpus / "train", tokenizer, 20, 20, 64, 4, triple_fraction)) != most[:20]


def test_rows_that_cannot_be_judged_are_skipped_until_there_are_enough(tmp_path: Path) -> None:
    """Nine of ten are too short: the rest of the corpus is looked through before a sequence is used twice."""
    texts = [f"{number} {EXPLANATION}" if number % 10 == 0 else f"short {number}" for number in range(600)]
    corpus = make_corpus(tmp_path / "c", {"d": texts})
    tokenizer = Tokenizer.from_file(str(corpus / "tokenizer" / "tokenizer.json"))
    drawn = draw_pairs(corpus / "train", tokenizer, 20, 20, 64, seed=3)
    assert sorted([*drawn.first, *drawn.second]) == list(range(40))
    assert len(set(drawn.ids)) == 40
    assert drawn.num_too_short + 40 < 600  # those after the last one that was needed were not drawn
    everything = draw_pairs(corpus / "train", tokenizer, 31, 20, 64, seed=3)
    assert (len(everything.ids), everything.num_too_short) == (60, 540)


@pytest.mark.parametrize("fraction", [0.0, 0.01, 0.05, 0.1, 0.5, 1.0])
def test_triples_are_spread_over_the_pairs(fraction: float) -> None:
    first, second = _layout(400, fraction)
    for number in (1, 2, 3, 59, 60, 61, 100, 400):
        beginning = _layout(number, fraction)
        assert beginning[0].tolist() == first[:number].tolist()
        pairs = set(zip(*(part.tolist() for part in beginning), strict=True))
        triples = [i for i, j in pairs if {(i, j), (i, j + 1), (j, j + 1)} <= pairs]
        assert len(triples) == int(fraction * number / 3)
        texts = sorted({*beginning[0].tolist(), *beginning[1].tolist()})
        assert texts == list(range(len(texts)))
    alone = [number for number, times in Counter([*first.tolist(), *second.tolist()]).items() if times == 1]
    assert len(alone) == 2 * (400 - 3 * int(fraction * 400 / 3)) or fraction == 1.0  # 400 is no multiple of three


def test_a_random_order_is_one_of_all_and_its_beginning_too() -> None:
    """Every order of four, and every beginning of two of nine, comes as often as any other (χ², p > 0.001)."""
    for number, taken, expected in ((4, 4, 24), (9, 2, 72)):
        orders = Counter(tuple(itertools.islice(_in_random_order(number, seed), taken)) for seed in range(7200))
        mean = 7200 / expected
        assert len(orders) == expected
        chi2 = sum((times - mean) ** 2 / mean for times in orders.values())
        assert chi2 < expected - 1 + 3.1 * np.sqrt(2 * (expected - 1)) + 4
    assert sorted(_in_random_order(3000, 5)) == list(range(3000))  # more than are drawn together
    assert list(itertools.islice(_in_random_order(10**15, 5), 3000))[:10] == list(
        itertools.islice(_in_random_order(10**15, 5), 10)
    )


def test_all_pairs_have_a_number() -> None:
    first, second = _unranked(np.arange(45))
    assert list(zip(first.tolist(), second.tolist(), strict=True)) == [(i, j) for j in range(10) for i in range(j)]
    assert _rank(first, second).tolist() == list(range(45))
    large = 250_000 * 249_999 // 2
    first, second = _unranked(np.array([large - 1, large]))
    assert (first.tolist(), second.tolist()) == ([249_998, 0], [249_999, 250_000])


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_ranking_is_read_like_all_json_lines(tmp_path: Path, ending: str) -> None:
    rows: list[dict[str, Any]] = [
        {"text": "one\u2028line", "rank": 2},
        {"text": "two", "rank": {"c": 1, "d.e": 3, "x": 9}},
        {"text": "three", "rank": {"c": 3, "d": {"e": 1}}},
    ]
    content = "\ufeff" + "\r\n\r\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    ranking = read_ranking(written(tmp_path / f"r.jsonl{ending}", content.encode()), ["c", "d.e"])
    assert ranking.texts == [row["text"] for row in rows]
    assert ranking.ranks == {"c": [2, 1, 3], "d.e": [2, 3, 1]}


@pytest.mark.parametrize(
    ("line", "message"),
    [
        ('{"text": "x", "rank": NaN}', "the rank is nan, not a finite number"),
        ('{"text": "x", "rank": true}', "the rank is True"),
        ('{"text": "x", "rank": {"d": 1}}', r"no field 'c' \(found the fields d\)"),
        ('{"text": " ", "rank": 1}', "`text` is empty"),
        (r'{"text": "\ud83d", "rank": 1}', "holds half of a surrogate pair"),
        ('{"rank": 1}', "no field 'text'"),
        ("{", "not JSON"),
    ],
)
def test_a_bad_line_of_a_ranking_is_named(tmp_path: Path, line: str, message: str) -> None:
    (tmp_path / "r.jsonl").write_text('{"text": "x", "rank": 1}\n' + line, encoding="utf-8")
    with pytest.raises(StageError, match=rf"judge\.ranking=.*r\.jsonl, line 2: {message}.*; a line must be"):
        read_ranking(tmp_path / "r.jsonl", ["c"])
    with pytest.raises(StageError, match=r"absent\.jsonl cannot be read"):
        read_ranking(tmp_path / "absent.jsonl", ["c"])
