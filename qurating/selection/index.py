"""Selecting sequences of a corpus by a rule, and the index of the selected ones."""

import math
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from qurating.artifacts.by_domain import shortened
from qurating.artifacts.files import parquet_format, replacing
from qurating.runtime.errors import StageError
from qurating.selection import statistics
from qurating.selection.corpus_rows import NO_DOMAIN, CorpusRows
from qurating.selection.cutoff import Selected

# a sequence and its position in the corpus
PLACE_SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("shard", pa.int32()),
        ("row", pa.int32()),
        ("length", pa.int32()),
        ("domain", pa.string()),
    ]
)
SUBSET_SCHEMA = PLACE_SCHEMA.append(pa.field("score", pa.float64()))
_ROWS_PER_GROUP = 2**18
_FAR_OVER = 1.05  # times the budget: more than the last sequences of a few domains add


class Index(NamedTuple):
    """What is in an index.

    `domains`: by domain, sorted: `corpus_sequences`, `corpus_tokens`, `sequences` and `tokens`. `constant`: by
    criterion, the domains in which all scores are equal, with their sequences in the corpus, the most first; a domain
    of one sequence does not count. `without_choice`: the criteria whose scores are equal within every domain.
    """

    domains: dict[str, dict[str, int]]
    constant: dict[str, dict[str, int]]
    without_choice: list[str]


def select_rows(
    path: Path,
    corpus: Path,
    ratings: Path | None,
    rule: Callable[..., Selected],
    *,
    criteria: Sequence[str],
    by_domain: bool,
    domain_column: str,
    seed: int,
) -> Index:
    """Write the index of the sequences that a rule selects (columns: SUBSET_SCHEMA), in corpus order.

    Args:
        path: of the index.
        ratings: of the corpus; None selects without them.
        rule: (rows, seed) -> selected rows, one of `qurating.selection.rules`.
        criteria: whose ratings the rule sees.
        by_domain: give the rule the domains of the corpus; else the corpus is one domain.
        domain_column: the column of the corpus with the domains; the index has them in either case.
        seed: of the noise of the rule.

    A warning tells which scores are constant, unless the temperature is infinite.

    Raises:
        StageError: errors of `CorpusRows` and of the rule; an id that occurs twice.
    """
    rows = CorpusRows(corpus, ratings, criteria, domain_column if by_domain else None)
    try:
        chosen = rule(rows, seed=seed)
        # the index has the domains of the corpus, also if the rule sees one domain
        shown = rows if by_domain else CorpusRows(corpus, ratings, criteria, domain_column)
        settings = getattr(rule, "keywords", {})
        constancy = statistics.Constancy([] if settings.get("temperature") == math.inf else criteria)
        budget = settings.get("num_tokens")
        apart = by_domain and budget is not None  # without a budget, rules compare all sequences
        domains = _write(path, shown, chosen, constancy, apart)
    except ValueError as error:
        raise StageError(f"{corpus.name}: {error}") from error
    num_tokens = sum(domain["tokens"] for domain in domains.values())
    if budget is not None and num_tokens > _FAR_OVER * budget:
        tqdm.write(
            f"    warning: {num_tokens:,} tokens for a budget of {budget:,}. Each of {len(domains):,} domains includes "
            "the sequence that crosses its share: use fewer domains, or set selection.by_domain=false"
        )
    names = shown.domain_names if apart else [NO_DOMAIN]
    constant = {name: _constant_domains(constancy, name, names) for name in constancy.criteria}
    without_choice = [name for name in constancy.criteria if constancy.is_constant(name)]
    for name, where in constant.items():
        if where:
            _warn(name, where, len(names), name in without_choice)
    return Index(domains, {name: where for name, where in constant.items() if where}, without_choice)


def _constant_domains(constancy: statistics.Constancy, criterion: str, names: Sequence[str]) -> dict[str, int]:
    """The domains with equal scores and their sequences, the largest first."""
    there = np.flatnonzero(constancy.constant(criterion))
    found = {names[code]: int(constancy.counts[code]) for code in there.tolist()}
    return dict(sorted(found.items(), key=lambda item: (-item[1], item[0])))


def _warn(criterion: str, constant: dict[str, int], num_domains: int, everywhere: bool) -> None:
    within = "" if num_domains == 1 else " within every domain" if everywhere else f" in {len(constant):,} domains"
    named = (
        ""
        if num_domains == 1
        else f" ({', '.join(f'{name} {count:,}' for name, count in shortened(constant).items())})"
    )
    tqdm.write(
        f"    warning: the scores by {criterion} are equal{within}{named}: they choose nothing there, and ids or noise "
        "decide, as in a uniform selection"
    )


def _write(
    path: Path, rows: CorpusRows, chosen: Selected, constancy: statistics.Constancy, apart: bool
) -> dict[str, dict[str, int]]:
    """Stream the selected rows to a Parquet file; returns the counts by domain.

    Args:
        constancy: the scores of all rows are added to it.
        apart: by domain; else as one domain.
    """
    totals: dict[str, dict[str, int]] = {}
    with (
        replacing(path) as temporary,
        pq.ParquetWriter(temporary, SUBSET_SCHEMA, **parquet_format(SUBSET_SCHEMA)) as writer,
    ):
        for table in _groups(rows, chosen, totals, constancy, apart):
            writer.write_table(table)
    _check_ids(path)
    return dict(sorted(totals.items()))


def _check_ids(path: Path) -> None:
    """Refuse an id that occurs twice in an index; in each pass, ids with the same last bits are compared."""
    with pq.ParquetFile(path, pre_buffer=False) as index:
        num_parts = 1 << max(0, (index.metadata.num_rows - 1) // statistics.MAX_CHECKED_IDS).bit_length()
        for part in range(num_parts):
            batches = index.iter_batches(_ROWS_PER_GROUP, columns=["id"], use_threads=False)
            ids = (batch.column("id").to_numpy().view(np.uint64) for batch in batches)
            own = [part_ids[part_ids & np.uint64(num_parts - 1) == part] for part_ids in ids]
            statistics.refuse_repeated(np.concatenate(own))


def _groups(
    rows: CorpusRows,
    chosen: Selected,
    totals: dict[str, dict[str, int]],
    constancy: statistics.Constancy,
    apart: bool,
) -> Iterator[pa.Table]:
    """Tables of about `_ROWS_PER_GROUP` selected rows; also fills `totals` and `constancy`."""
    waiting: list[pa.Table] = []
    num_waiting = first_of_shard = position = shard = 0
    for place, chunk in enumerate(rows.chunks()):
        while position >= first_of_shard + rows.file_sizes[shard]:
            first_of_shard += rows.file_sizes[shard]
            shard += 1
        there = np.flatnonzero(chosen[place])
        names = list(rows.domain_names)  # a copy: the thread that reads ahead adds to them
        _count(totals, names, chunk.domains, chunk.lengths, there)
        constancy.add(chunk.scores, chunk.domains if apart else np.zeros_like(chunk.domains))
        score = next(iter(chunk.scores.values()))[there] if len(chunk.scores) == 1 else None
        domains = pa.DictionaryArray.from_arrays(pa.array(chunk.domains[there]), pa.array(names))
        columns = [
            chunk.ids[there].view(np.int64),
            np.full(len(there), shard, np.int32),
            (there + (position - first_of_shard)).astype(np.int32),
            chunk.lengths[there].astype(np.int32),
            domains.cast(pa.string()),
            pa.nulls(len(there), pa.float64()) if score is None else score,
        ]
        waiting.append(pa.table(columns, schema=SUBSET_SCHEMA))
        num_waiting += len(there)
        position += len(chunk.ids)
        if num_waiting >= _ROWS_PER_GROUP:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting, num_waiting = [], 0
    yield pa.concat_tables(waiting or [SUBSET_SCHEMA.empty_table()]).combine_chunks()


def _count(
    totals: dict[str, dict[str, int]], names: list[str], domains: np.ndarray, lengths: np.ndarray, there: np.ndarray
) -> None:
    """Add the counts of a chunk by domain: of all its rows, and of the selected ones."""
    size = len(names)
    taken = domains[there]
    columns = {
        "corpus_sequences": np.bincount(domains, minlength=size),
        "corpus_tokens": np.bincount(domains, lengths, size),
        "sequences": np.bincount(taken, minlength=size),
        "tokens": np.bincount(taken, lengths[there], size),
    }
    for code, name in enumerate(names):
        domain = totals.setdefault(name, dict.fromkeys(columns, 0))
        for key, values in columns.items():
            domain[key] += int(values[code])
