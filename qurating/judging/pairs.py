"""Draws the pairs of texts to judge from a corpus, and cuts their snippets."""

import math
from collections.abc import Callable, Sequence
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

    Each sequence is in one pair if the corpus has enough of them (2 × num_pairs); else in as many as needed, but no
    pair is drawn twice. With enough sequences, `triple_fraction` of the pairs come first: they are the three pairs of
    three sequences each, which show whether judgments are transitive. Sequences of fewer than `min_words` words are
    skipped. The snippet of a sequence depends on (seed, id) alone. In memory: the snippets, and one row group at a
    time. Raises StageError if fewer than two sequences can be judged, or if the corpus has fewer than `num_pairs`
    different pairs.
    """
    files = row_files(folder)
    starts = np.cumsum([0, *(pq.read_metadata(file).num_rows for file in files)])
    num_rows, wanted = int(starts[-1]), 2 * num_pairs

    def cut(sequence: int, text: str) -> str | None:
        if len(text.split()) < min_words:
            return None
        return snippet(text, tokenizer, max_snippet_tokens, seed_for(seed, "snippet", str(sequence)))

    draw = np.random.default_rng(seed_for(seed, "judge", "pairs"))
    # Four times the number needed, so that short ones can be skipped; a permutation of a large corpus would not fit.
    order = draw.choice(num_rows, size=min(num_rows, 4 * wanted), replace=False) if num_rows else np.empty(0, np.int64)
    ids: list[int] = []
    domains: list[str] = []
    texts: list[str] = []
    looked_at = 0
    while len(ids) < wanted and looked_at < len(order):
        batch = order[looked_at : looked_at + (wanted - len(ids))]
        looked_at += len(batch)
        for row in _rows(files, starts, batch, cut):
            if row is not None:
                ids.append(row[0])
                domains.append(row[1])
                texts.append(row[2])
    num_texts, num_too_short = len(ids), looked_at - len(ids)
    possible = num_texts * (num_texts - 1) // 2
    if num_texts < 2:
        raise StageError(
            f"{folder} has {num_rows} sequences, and {num_texts} of them can be judged (at least {min_words} words): "
            "judging needs two. Use a larger corpus, or lower judge.min_words"
        )
    if num_pairs > possible:
        raise StageError(
            f"{folder} has {num_texts} sequences of at least {min_words} words: {possible} different pairs, "
            f"not {num_pairs}. Lower judge.num_pairs, or use a larger corpus"
        )
    if num_texts >= wanted:
        first, second = np.arange(0, wanted, 2), np.arange(1, wanted, 2)
        for start in range(0, 3 * int(triple_fraction * num_pairs / 3), 3):
            first[start : start + 3] = start + np.array([0, 0, 1])
            second[start : start + 3] = start + np.array([1, 2, 2])
        used = np.unique([first, second])  # a triple has three texts, not six
        first, second = np.searchsorted(used, first), np.searchsorted(used, second)
        ids, domains, texts = ([part[i] for i in used] for part in (ids, domains, texts))
    else:
        first, second = _unranked(draw.choice(possible, size=num_pairs, replace=False))
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
