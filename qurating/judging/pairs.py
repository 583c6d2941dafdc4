"""Draws the pairs of texts to judge from a corpus, and cuts their snippets."""

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from qurating.artifacts.files import row_files
from qurating.artifacts.seeds import seed_for
from qurating.corpus.records import BadRowError, json_rows, lookup, text_in
from qurating.judging.prompts import snippet
from qurating.runtime.errors import StageError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Indices = NDArray[np.int64]
SHUFFLED_AT_ONCE = 1024  # random numbers drawn together: another value draws other pairs


class Pairs(NamedTuple):
    """Snippets, with id and domain of their sequences; pair k is texts `first[k]` and `second[k]`, never the same."""

    ids: list[int]
    domains: list[str]
    texts: list[str]
    first: Indices
    second: Indices
    num_too_short: int  # sequences that were drawn and skipped


def draw_pairs(
    folder: Path,
    tokenizer: "Tokenizer",
    num_pairs: int,
    min_words: int,
    max_snippet_tokens: int,
    seed: int,
    triple_fraction: float = 0.0,
) -> Pairs:
    """Draw pairs of different sequences at random from the shards of `folder`.

    The pairs of a smaller `num_pairs` are the first of those of a larger one (same `folder` and other arguments), so
    that answers about them are not paid for twice. They are a proper draw by themselves: the sequences come in a random
    order without replacement, of which every beginning is such an order too; and which places of it form a pair depends
    on the number of the pair and on `triple_fraction` alone.

    Each sequence is in one pair as long as the corpus has sequences for that; further pairs are drawn at random from
    all that remain, so that no pair is drawn twice. While each sequence is used once, `triple_fraction` of the pairs,
    spread evenly, are the three pairs of three sequences each, which show whether judgments are transitive. Sequences
    of fewer than `min_words` words are skipped. The snippet of a sequence depends on (seed, id) alone. In memory: the
    snippets, and one row group at a time. Raises StageError if fewer than two sequences can be judged, or if the corpus
    has fewer than `num_pairs` different pairs.
    """
    files = row_files(folder)
    starts = np.cumsum([0, *(pq.read_metadata(file).num_rows for file in files)])
    num_rows = int(starts[-1])
    first, second = _layout(num_pairs, triple_fraction)
    wanted = int(second[-1]) + 1

    def cut(sequence: int, text: str) -> str | None:
        if len(text.split()) < min_words:
            return None
        return snippet(text, tokenizer, max_snippet_tokens, seed_for(seed, "snippet", str(sequence)))

    order = _in_random_order(num_rows, seed_for(seed, "judge", "pairs"))
    ids: list[int] = []
    domains: list[str] = []
    texts: list[str] = []
    looked_at = num_too_short = 0
    while len(ids) < wanted and looked_at < num_rows:
        missing = wanted - len(ids)
        likely = missing * looked_at // max(len(ids), 1)  # so many rows hold the missing ones, if it goes on like this
        batch = np.fromiter(itertools.islice(order, min(max(missing, likely), 8 * missing)), np.int64)
        looked_at += len(batch)
        for row in _rows(files, starts, batch, cut):
            if len(ids) == wanted:
                break
            if row is None:
                num_too_short += 1
                continue
            ids.append(row[0])
            domains.append(row[1])
            texts.append(row[2])
    num_texts = len(ids)
    possible = num_texts * (num_texts - 1) // 2
    if num_texts < 2:
        raise StageError(
            f"{folder} has {num_rows} sequences, and {num_texts} of them can be judged (at least {min_words} words): "
            "judging needs two. Use a larger corpus, or lower judge.min_words"
        )
    if num_texts < wanted:
        if num_pairs > possible:
            raise StageError(
                f"{folder} has {num_texts} sequences of at least {min_words} words: {possible} different pairs, "
                f"not {num_pairs}. Lower judge.num_pairs, or use a larger corpus"
            )
        once = int(np.searchsorted(second, num_texts))  # the pairs for which there are texts
        first, second = first[:once], second[:once]
        drawn = set(_rank(first, second).tolist())
        others = (r for r in _in_random_order(possible, seed_for(seed, "judge", "other pairs")) if r not in drawn)
        more = _unranked(np.fromiter(itertools.islice(others, num_pairs - once), np.int64))
        first, second = np.concatenate([first, more[0]]), np.concatenate([second, more[1]])
    return Pairs(ids, domains, texts, first, second, num_too_short)


class Ranking(NamedTuple):
    """Documents that people have ranked: their texts, and their ranks by criterion (1 is best, ties allowed)."""

    texts: list[str]
    ranks: dict[str, list[float]]


def read_ranking(file: Path, criteria: Sequence[str]) -> Ranking:
    """Read JSON lines with `text` and `rank` (finite): one number, or one number per criterion.

    Raises StageError, which names the line, for anything else, and for fewer than three texts.
    """
    texts: list[str] = []
    ranks: dict[str, list[float]] = {name: [] for name in criteria}
    for number, row in json_rows(file):
        try:
            if isinstance(row, BadRowError):
                raise row
            text, rank = text_in(row, "text"), lookup(row, "rank")
            if not text.strip():
                raise BadRowError("`text` is empty")
            for name in criteria:
                of_criterion = lookup(rank, name) if isinstance(rank, dict) else rank
                if isinstance(of_criterion, bool) or not math.isfinite(float(of_criterion)):
                    raise BadRowError(f"the rank is {of_criterion!r}, not a finite number")
                ranks[name].append(float(of_criterion))
            texts.append(text)
        except (ValueError, TypeError) as error:
            wanted = '{"text": "…", "rank": 1}, or "rank": {"criterion": 1, …} with every criterion'
            raise StageError(f"judge.ranking={file}, line {number}: {error}; a line must be {wanted}") from None
    if len(texts) < 3:
        raise StageError(f"judge.ranking={file} has {len(texts)} texts: a ranking needs at least 3")
    return Ranking(texts, ranks)


def with_ranked(pairs: Pairs, ranking: Ranking, tokenizer: "Tokenizer", max_snippet_tokens: int, seed: int) -> Pairs:
    """`pairs`, followed by all pairs of the ranked texts, which have negative ids."""
    num_texts, num_ranked = len(pairs.texts), len(ranking.texts)
    cut = [snippet(text, tokenizer, max_snippet_tokens, seed_for(seed, "ranking", text)) for text in ranking.texts]
    first, second = np.triu_indices(num_ranked, 1)
    return pairs._replace(
        ids=[*pairs.ids, *range(-1, -num_ranked - 1, -1)],
        domains=[*pairs.domains, *["ranked by people"] * num_ranked],
        texts=[*pairs.texts, *cut],
        first=np.concatenate([pairs.first, first + num_texts]),
        second=np.concatenate([pairs.second, second + num_texts]),
    )


def _layout(num_pairs: int, triple_fraction: float) -> tuple[Indices, Indices]:
    """The places of each pair's two texts in the order of texts, each text once, but for triples.

    After n pairs there have been `int(triple_fraction * n / 3)` triples of three pairs each.
    """
    first: list[int] = []
    second: list[int] = []
    place = num_triples = 0
    while len(first) < num_pairs:
        is_triple = int(triple_fraction * (len(first) + 3) / 3) > num_triples
        first += [place, place, place + 1] if is_triple else [place]
        second += [place + 1, place + 2, place + 2] if is_triple else [place + 1]
        place, num_triples = place + 2 + is_triple, num_triples + is_triple
    return np.array(first[:num_pairs], np.int64), np.array(second[:num_pairs], np.int64)


def _in_random_order(number: int, seed: int) -> Iterator[int]:
    """The numbers below `number` in random order, each once; memory grows with how many are taken, not with `number`.

    A Fisher-Yates shuffle that keeps only the places where something was moved.
    """
    draw = np.random.default_rng(seed)
    moved: dict[int, int] = {}
    for start in range(0, number, SHUFFLED_AT_ONCE):
        places = np.arange(start, min(start + SHUFFLED_AT_ONCE, number))
        for place, other in zip(places.tolist(), draw.integers(places, number).tolist(), strict=True):
            here = moved.pop(place, place)
            if other == place:
                yield here
            else:
                yield moved.get(other, other)
                moved[other] = here


def _rank(first: Indices, second: Indices) -> Indices:
    """The number of each pair, first < second, among all pairs; see `_unranked`."""
    return second * (second - 1) // 2 + first


def _unranked(rank: Indices) -> tuple[Indices, Indices]:
    """Pair number r of (0,1), (0,2), (1,2), (0,3), ...: second is the largest j with j (j − 1) / 2 ≤ r."""
    second = ((1 + np.sqrt(1 + 8 * rank.astype(np.float64))) / 2).astype(np.int64)
    second -= second * (second - 1) // 2 > rank  # the square root may round either way
    second += second * (second + 1) // 2 <= rank
    return rank - second * (second - 1) // 2, second


def _rows(
    files: list[Path], starts: Indices, places: Indices, cut: Callable[[int, str], str | None]
) -> list[tuple[int, str, str] | None]:
    """Id, domain and `cut(id, text)` of rows by their number in the corpus, in the order of `places`.

    None where `cut` returns None. Reads only the row groups with requested rows.
    """
    found: list[tuple[int, str, str] | None] = [None] * len(places)
    by_place = np.argsort(places)
    ordered = places[by_place]
    for index, file in enumerate(files):
        low, high = np.searchsorted(ordered, starts[index : index + 2])
        if low == high:
            continue
        with pq.ParquetFile(file) as shard:
            end = int(starts[index])
            for group in range(shard.num_row_groups):
                begin, end = end, end + shard.metadata.row_group(group).num_rows
                low, high = np.searchsorted(ordered, [begin, end])
                if low == high:
                    continue
                table = shard.read_row_group(group, columns=["id", "domain", "text"]).take(ordered[low:high] - begin)
                columns = [table[name].to_pylist() for name in ("id", "domain", "text")]
                for at, sequence, domain, text in zip(by_place[low:high], *columns, strict=True):
                    if (kept := cut(sequence, text)) is not None:
                        found[at] = (sequence, domain, kept)
    return found
