"""Draws the pairs of texts to judge from a corpus, and cuts their snippets."""

import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from qurating.artifacts.by_domain import count_domains
from qurating.artifacts.files import row_files
from qurating.artifacts.seeds import seed_for
from qurating.corpus.files import named_files
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
    too_short: Mapping[str, int]  # sequences that were drawn and left out, by domain


def draw_pairs(
    folder: Path,
    tokenizer: "Tokenizer",
    num_pairs: int,
    min_tokens: int,
    max_snippet_tokens: int,
    seed: int,
    triple_fraction: float = 0.0,
) -> Pairs:
    """Draw pairs of different sequences at random from the shards of `folder`.

    Each sequence is in one pair if the corpus has enough of them (2 × num_pairs); else in as many as needed, but no
    pair is drawn twice. With enough sequences, `triple_fraction` of the pairs come first: they are the three pairs of
    three sequences each, which show whether judgments are transitive. Sequences of fewer than `min_tokens` tokens, or
    of white space alone, are left out and counted. The snippet of a sequence depends on (seed, id) alone. In memory:
    the snippets, and one row group at a time. Raises StageError if fewer than two sequences can be judged, or if the
    corpus has fewer than `num_pairs` different pairs.
    """
    files = row_files(folder)
    starts = np.cumsum([0, *(pq.read_metadata(file).num_rows for file in files)])
    num_rows, wanted = int(starts[-1]), 2 * num_pairs

    def cut(sequence: int, length: int, text: str) -> str | None:
        if length < min_tokens or not text.strip():
            return None
        return snippet(text, tokenizer, max_snippet_tokens, seed_for(seed, "snippet", str(sequence)))

    draw = np.random.default_rng(seed_for(seed, "judge", "pairs"))
    # Four times the number needed, so that short ones can be skipped; a permutation of a large corpus would not fit.
    order = draw.choice(num_rows, size=min(num_rows, 4 * wanted), replace=False) if num_rows else np.empty(0, np.int64)
    ids: list[int] = []
    domains: list[str] = []
    texts: list[str] = []
    too_short: Counter[str] = Counter()
    looked_at = 0
    while len(ids) < wanted and looked_at < len(order):
        batch = order[looked_at : looked_at + (wanted - len(ids))]
        looked_at += len(batch)
        for sequence, domain, text in _rows(files, starts, batch, cut):
            if text is None:
                too_short[domain] += 1
            else:
                ids.append(sequence)
                domains.append(domain)
                texts.append(text)
    num_texts = len(ids)
    possible = num_texts * (num_texts - 1) // 2
    if num_texts < 2:
        raise StageError(
            f"{folder} has {num_rows} sequences, and {num_texts} of them can be judged (at least {min_tokens} tokens): "
            "judging needs two. Use a larger corpus, or lower judge.min_tokens"
        )
    if num_pairs > possible:
        raise StageError(
            f"{folder} has {num_texts} sequences of at least {min_tokens} tokens: {possible} different pairs, "
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
    return Pairs(ids, domains, texts, first, second, too_short)


def by_domain(pairs: Pairs) -> dict[str, dict[str, int]]:
    """The texts that are `judged` and those that were `too_short`, by domain, most first."""
    judged = Counter(pairs.domains)
    drawn = count_domains([*pairs.domains, *Counter(pairs.too_short).elements()])
    return {name: {"judged": judged[name], "too_short": pairs.too_short.get(name, 0)} for name in drawn}


class Ranking(NamedTuple):
    """Documents that people have ranked: their texts, and their ranks by criterion (1 is best, ties allowed)."""

    texts: list[str]
    ranks: dict[str, list[float]]


def read_ranking(path: str, criteria: Sequence[str]) -> Ranking:
    """Read JSON lines with `text` and `rank` (finite): one number, or one number per criterion.

    `path`: of one file, found as all files of the user are. Raises StageError, which names the line, for anything else,
    and for fewer than three texts.
    """
    (file, _), *others = named_files(path)
    if others:
        raise StageError(f"judge.ranking={path} names {1 + len(others)} files: a ranking is one file")
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
    files: list[Path], starts: Indices, places: Indices, cut: Callable[[int, int, str], str | None]
) -> list[tuple[int, str, str | None]]:
    """Id, domain and `cut(id, length, text)` of rows by their number in the corpus, in the order of `places`.

    Reads only the row groups with requested rows.
    """
    found: list[tuple[int, str, str | None]] = [(0, "", None)] * len(places)
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
                names = ["id", "domain", "length", "text"]
                table = shard.read_row_group(group, columns=names).take(ordered[low:high] - begin)
                columns = [table[name].to_pylist() for name in names]
                for at, sequence, domain, length, text in zip(by_place[low:high], *columns, strict=True):
                    found[at] = (sequence, domain, cut(sequence, length, text))
    return found
