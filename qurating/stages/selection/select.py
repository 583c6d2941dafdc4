"""Select sequences of a corpus by their ratings: the index of the subset, not yet its text."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qurating.artifacts.files import write_json
from qurating.artifacts.seeds import seed_for
from qurating.rating.shards import check_fresh
from qurating.runtime.errors import StageError
from qurating.selection import statistics
from qurating.selection.cutoff import Selected
from qurating.selection.index import select_rows


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
    """Write `subset.parquet` (columns: `index.SUBSET_SCHEMA`): what is chosen, in corpus order; and `summary.json`.

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
    domains = select_rows(
        output / "subset.parquet",
        corpus,
        ratings,
        rule,
        criteria=criteria,
        by_domain=by_domain,
        domain_column=domain_column,
        seed=seed_for(seed, "select", "noise"),
    )
    write_json(output / "summary.json", {"domains": domains})
    totals = {key: sum(domain[key] for domain in domains.values()) for key in ("sequences", "tokens", "corpus_tokens")}
    return totals | {"method": label}
