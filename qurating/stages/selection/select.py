"""Select sequences of a corpus by their ratings, and write the index of the subset, without texts or tokens."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from qurating.artifacts.by_domain import shortened
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
    domain_column: str | None,
    label: str,
    seed: int,
) -> dict[str, Any]:
    """Write the selected sequences in corpus order, `subset.parquet` (`index.SUBSET_SCHEMA`), and `summary.json`.

    Memory grows with the corpus only by one bit per sequence, and by the rows that `cutoff.take_top` sorts. Scores that
    are equal throughout a domain choose nothing there: a warning and the counts name these domains. If that is so in
    all domains, the artifact and all later ones have the label `constant scores`.

    Args:
        corpus: the corpus to select from; of its training shards only `id`, `length` and the domain column are read.
        ratings: of that corpus; None selects without them (uniform).
        rule: (rows, seed) -> selected rows, one of `qurating.selection.rules`.
        criterion: whose ratings are used; several for a mix or a combination.
        by_domain: share the budget among domains; else the corpus is one domain.
        domain_column: the column of the corpus with the domains, such as one of `corpus.keep_columns`; None: `domain`.
        label: the name of this selection in tables.

    Raises:
        StageError: ratings of another corpus, of shards that were changed since, or without the criterion; an unknown
            column; ids that occur twice; scores that are not numbers; a budget that the corpus cannot fill.
    """
    criteria = [] if criterion is None else [criterion] if isinstance(criterion, str) else list(criterion)
    if len(set(criteria)) < len(criteria):
        raise StageError(f"selection.criterion names one twice: {', '.join(criteria)}")
    given = getattr(rule, "keywords", {})
    if not by_domain and given.get("domain_weights"):
        raise StageError("selection.domain_weights need selection.by_domain=true: without it, domains are ignored")
    if not by_domain and given.get("normalisation") == statistics.PER_DOMAIN:
        raise StageError(
            "selection.normalisation=per_domain needs selection.by_domain=true: without it, domains are ignored"
        )
    if criteria and ratings is None:
        raise StageError(f"selecting by {', '.join(criteria)} needs ratings: set selection.ratings")
    if criteria and ratings is not None:
        check_fresh(corpus, ratings)
    index = select_rows(
        output / "subset.parquet",
        corpus,
        ratings,
        rule,
        criteria=criteria,
        by_domain=by_domain,
        domain_column=domain_column or "domain",
        seed=seed_for(seed, "select", "noise"),
    )
    write_json(output / "summary.json", {"domains": index.domains})
    parts = index.domains.values()
    counts: dict[str, Any] = {key: sum(part[key] for part in parts) for key in ("sequences", "tokens", "corpus_tokens")}
    counts["method"] = label
    if index.constant:
        counts["constant_scores"] = {name: shortened(where) for name, where in index.constant.items()}
    if index.without_choice:
        counts["labels"] = [statistics.CONSTANT]
    return counts
