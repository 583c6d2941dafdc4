"""Select sequences of a corpus by their ratings: the index of the subset, not yet its text."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from qurating.artifacts.files import parquet_format, replacing, write_json
from qurating.artifacts.seeds import seed_for
from qurating.rating.shards import check_fresh
from qurating.runtime.errors import StageError
from qurating.selection import statistics
from qurating.selection.corpus_rows import CorpusRows
from qurating.selection.cutoff import Selected

SCHEMA = pa.schema(
    [
        ("id", pa.int64()),
        ("shard", pa.int32()),
        ("row", pa.int32()),
        ("length", pa.int32()),
        ("domain", pa.string()),
        ("score", pa.float64()),
    ]
)
_ROWS_A_GROUP = 2**18
_FAR_OVER = 1.05  # of the budget: more than the ends of a few sequences


def select(
    *,
    output: Path,
    corpus: Path,
    ratings: Path | None,
    rule: Callable[..., Selected],
    criterion: str | list[str] | None,
    by_domain: bool,
    domain_column: str,
    label: str,
    seed: int,
) -> dict[str, Any]:
    """Write `subset.parquet` (columns: SCHEMA): what is chosen, in corpus order; and `summary.json`.

    Memory does not grow with the corpus, but for a bit a sequence and what `cutoff.take_top` sorts.

    Args:
        corpus: whose training shards are chosen from; only `id`, `length` and the domain's column are read.
        ratings: of that corpus; None selects without them (uniform).
        rule: (rows, seed) -> what is chosen, one of `qurating.selection.rules`.
        criterion: whose ratings count; several for a mix or a combination.
        by_domain: share the budget out among domains; else the corpus is one.
        domain_column: of the corpus, what tells domains apart; dotted within another.
        label: what tables call this selection.

    Raises:
        StageError: ratings of another corpus, or of shards that were changed since, or that lack the criterion; a
            column that there is not; ids that occur twice; scores that are no numbers; a budget that is not to be had.
    """
    criteria = [] if criterion is None else [criterion] if isinstance(criterion, str) else list(criterion)
    if len(set(criteria)) < len(criteria):
        raise StageError(f"selection.criterion names one twice: {', '.join(criteria)}")
    given = getattr(rule, "keywords", {})
    if not by_domain and given.get("domain_weights"):
        raise StageError("selection.domain_weights are of domains, which selection.by_domain=false does not look at")
    if not by_domain and given.get("normalisation") == statistics.PER_DOMAIN:
        raise StageError("selection.normalisation=per_domain needs selection.by_domain=true: else there is one domain")
    if criteria and ratings is None:
        raise StageError(f"selecting by {', '.join(criteria)} needs ratings: set selection.ratings")
    if criteria and ratings is not None:
        check_fresh(corpus, ratings)
    rows = CorpusRows(corpus, ratings, criteria, domain_column if by_domain else None)
    try:
        chosen = rule(rows, seed=seed_for(seed, "select", "noise"))
        # the domains that the index tells are the corpus' own, also where it is chosen from as a whole
        shown = rows if by_domain else CorpusRows(corpus, ratings, criteria, domain_column)
        summary = _write_index(output / "subset.parquet", shown, chosen)
    except ValueError as error:
        raise StageError(f"{corpus.name}: {error}") from error
    write_json(output / "summary.json", summary)
    domains = summary["domains"].values()
    num_tokens, budget = sum(domain["tokens"] for domain in domains), given.get("num_tokens")
    if budget is not None and num_tokens > _FAR_OVER * budget:
        tqdm.write(
            f"    warning: {num_tokens:,} tokens for a budget of {budget:,}. Each of {len(domains):,} domains goes on "
            "to the end of the sequence that crosses its share: take fewer domains, or selection.by_domain=false"
        )
    return {
        "sequences": sum(domain["sequences"] for domain in domains),
        "tokens": num_tokens,
        "corpus_tokens": sum(domain["corpus_tokens"] for domain in domains),
        "method": label,
    }


def _write_index(path: Path, rows: CorpusRows, chosen: Selected) -> dict[str, Any]:
    """Stream the rows chosen to a Parquet file; returns what the domains have and gave."""
    totals: dict[str, dict[str, int]] = {}
    with replacing(path) as temporary, pq.ParquetWriter(temporary, SCHEMA, **parquet_format(SCHEMA)) as writer:
        for table in _groups(rows, chosen, totals):
            writer.write_table(table)
    _check_ids(path)
    return {"domains": dict(sorted(totals.items()))}


def _check_ids(path: Path) -> None:
    """Refuse an id that occurs twice in an index: those that end in the same bits are compared, some bits at a time."""
    with pq.ParquetFile(path, pre_buffer=False) as index:
        num_parts = 1 << max(0, (index.metadata.num_rows - 1) // statistics.MAX_CHECKED_IDS).bit_length()
        for part in range(num_parts):
            batches = index.iter_batches(_ROWS_A_GROUP, columns=["id"], use_threads=False)
            ids = (batch.column("id").to_numpy().view(np.uint64) for batch in batches)
            statistics.refuse_repeated(np.concatenate([some[some & np.uint64(num_parts - 1) == part] for some in ids]))


def _groups(rows: CorpusRows, chosen: Selected, totals: dict[str, dict[str, int]]) -> Iterator[pa.Table]:
    """Tables of about `_ROWS_A_GROUP` rows chosen; `totals` are filled by the way."""
    waiting: list[pa.Table] = []
    num_waiting = first_of_shard = position = shard = 0
    for place, chunk in enumerate(rows.chunks()):
        while position >= first_of_shard + rows.file_sizes[shard]:
            first_of_shard += rows.file_sizes[shard]
            shard += 1
        there = np.flatnonzero(chosen[place])
        names = list(rows.domain_names)  # a copy: the thread that reads ahead adds to them
        _count(totals, names, chunk.domains, chunk.lengths, there)
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
        waiting.append(pa.table(columns, schema=SCHEMA))
        num_waiting += len(there)
        position += len(chunk.ids)
        if num_waiting >= _ROWS_A_GROUP:
            yield pa.concat_tables(waiting).combine_chunks()
            waiting, num_waiting = [], 0
    yield pa.concat_tables(waiting or [SCHEMA.empty_table()]).combine_chunks()


def _count(
    totals: dict[str, dict[str, int]], names: list[str], domains: np.ndarray, lengths: np.ndarray, there: np.ndarray
) -> None:
    """Add what a chunk of the corpus has of each domain, and what was taken of it."""
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
