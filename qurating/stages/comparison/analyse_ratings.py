"""Analyse a rated corpus: what each criterion prefers, what each selection takes, and whether to trust the ratings."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from qurating.analysis import cautions, first_window, groups, results
from qurating.analysis import raters as of_raters
from qurating.analysis import subsets as of_subsets
from qurating.analysis.correlations import correlations
from qurating.analysis.documents import chosen_rows, documents
from qurating.analysis.preferences import of_judgments
from qurating.analysis.rated import (
    CLUSTER,
    Counts,
    Groups,
    Mask,
    Rated,
    every,
    members_of,
    read_rated,
    stride_for,
)
from qurating.analysis.tables import CLUSTERS, write
from qurating.analysis.temperatures import normalisation, sampled_budget, temperatures
from qurating.analysis.texts import has_text, texts_at
from qurating.analysis.variance import variance
from qurating.artifacts import lineage
from qurating.artifacts.ancestry import SEEDS
from qurating.artifacts.files import read_json, row_files, write_json, write_table
from qurating.artifacts.seeds import replicate_of, seed_for
from qurating.evaluation import methods
from qurating.evaluation.comparison import Cell, with_distinct_names
from qurating.evaluation.runs import runs_in
from qurating.reports.rated import page
from qurating.runtime.errors import StageError

SIMULATED = "simulated judge"  # label of what was made with it


def analyse_ratings(
    *,
    output: Path,
    corpus: Path,
    ratings: Path | Sequence[Path],
    subsets: Path | Sequence[Path],
    checks: Path | Sequence[Path],
    judgments: Path | Sequence[Path],
    raters: Path | Sequence[Path],
    annotations: Path | Sequence[Path],
    scorers: Path | Sequence[Path],
    evaluations: Path | Sequence[Path],
    domain_column: str,
    label_columns: Sequence[str],
    max_sequences: int,
    num_tokens: int,
    clusters: int,
    max_clustered: int,
    max_explored: int,
    min_spread: float,
    min_distinct: int,
    seed: int,
    about: str | None = None,
) -> dict[str, Any]:
    """Write `report.html`, `tables/*.parquet` and `*.csv`, `plots/*.png`, and what the page is made from.

    The latter are `documents.parquet`, `warnings.json`, `about.json`, and `answer.json` with the methods over their
    seeds, see `methods.rows`. The tables are described in docs/analysis.md.
    The metadata of each Parquet file say of which sequences it is.

    Args:
        ratings: of the corpus, at least one.
        subsets: of the corpus, whose composition and overlap are analysed, as of those that the models of
            `evaluations` were trained on.
        checks: artifacts of `check_subset`.
        judgments: what the judges say of themselves; the pairs of the first artifact are compared with the ratings.
        raters: of `train_rater`, for their held-out accuracy and calibration.
        annotations: LQS of proxy sequences, for the correlations and beside the scores of `ratings`.
        scorers: of `train_scorer`, for their held-out correlation.
        evaluations: of models that were trained on subsets of the corpus.
        domain_column: of the corpus; dotted if nested.
        label_columns: of the corpus, for more groups.
        max_sequences: that are analysed; of a larger corpus, an evenly spaced sample.
        num_tokens: the budget of the selections that are simulated.
        clusters: number of topic clusters; 0: none.
        max_clustered: sequences that clusters are made from, evenly spaced.
        max_explored: sequences in `documents.parquet`, evenly spaced, besides extremes.
        min_spread, min_distinct: of the ratings within a domain; see `cautions.of_spread`.
        seed: of the noise and the clusters.
        about: the part of the held-out text that methods are compared on, a set or a domain of the evaluations;
            None: all.

    Raises:
        StageError: no ratings; ratings or subsets of another corpus; an unknown column.
    """
    if min(max_sequences, max_clustered, max_explored) < 1 or clusters < 0:
        raise StageError(
            "stages.analyse_ratings: max_sequences, max_clustered and max_explored are at least 1, and clusters 0"
        )
    ratings, subsets, checks = map(_each, (ratings, subsets, checks))
    judgments, raters, annotations, scorers = map(_each, (judgments, raters, annotations, scorers))
    evaluations = _each(evaluations)
    runs = runs_in(evaluations, about or "")
    subsets = list(dict.fromkeys([*subsets, *results.trained_on(runs)]))
    rated = read_rated(
        corpus, ratings, domain_column=domain_column, label_columns=label_columns, max_sequences=max_sequences
    )

    def with_ids(ids: Counts) -> Rated:
        """The sequences with these ids, and maybe others: a sample has few of them."""
        if rated.stride == 1:
            return rated
        return read_rated(
            corpus, ratings, domain_column=domain_column, label_columns=[], max_sequences=1, only=ids.ravel()
        )

    warnings = cautions.of_values(rated)
    sampling = {"sequences": rated.sampling()}
    masks = {subset.name: members_of(rated, subset, corpus) for subset in subsets}
    topics = None
    if clusters and not has_text(corpus):
        warnings.append("The corpus has no column text: there are no topic clusters, and no texts to read.")
    elif clusters:
        rated, topics, sampling["clusters"] = _clustered(rated, corpus, clusters, max_clustered, seed)
        if topics is None:
            warnings.append("There are no topic clusters: the texts have too few words in common.")

    tables: dict[str, pa.Table] = {}
    with tqdm(total=9, desc="analysing", unit="part", mininterval=0.5) as progress:
        tables["by_group"] = groups.by_group(rated)
        tables["percentiles"] = groups.percentiles(rated)
        progress.update()
        tables["variance"] = variance(rated)
        progress.update()
        tables["preferences"], said = of_judgments(with_ids, judgments)
        warnings += said
        progress.update()
        tables["correlations"] = correlations(rated, of_raters.annotated_lqs(rated, annotations))
        tables |= of_raters.tables(judgments, raters, scorers)
        tables["annotated"] = of_raters.annotated(with_ids, annotations)
        progress.update()
        tables["clusters"] = topics.table() if topics is not None else CLUSTERS.empty_table()
        tables["retention"] = of_subsets.retention(rated, masks)
        tables["overlap"] = of_subsets.overlap(rated, masks)
        tables["duplicates"] = of_subsets.duplicates(checks)
        progress.update()
        budget = sampled_budget(num_tokens, rated, _num_tokens(corpus, rated))
        if budget >= rated.lengths.sum():
            warnings.append(
                f"num_tokens is {int(num_tokens):,}, no less than the corpus has: a selection has no choice, and "
                "neither temperatures nor the effect of normalising by domain are simulated."
            )
        tables["temperatures"] = temperatures(rated, budget, seed_for(seed, "select", "noise"))
        progress.update()
        tables["normalisation"] = normalisation(rated, budget)
        progress.update()
        tables["first_window"], shard_stride = first_window.first_window(rated, corpus)
        sampling["windows"] = every(shard_stride).replace("sequence", "shard")
        progress.update()
        answer = methods.rows(runs)
        tables["results"] = results.results(runs, answer, tables["duplicates"].to_pylist())
        tables["curves"] = results.curves(runs, answer)
        progress.update()
    # the gravest first: the overview of the page shows the first ones
    warnings += cautions.of_raters(tables)
    warnings += cautions.of_preferences(tables["preferences"])
    warnings += cautions.of_variance(tables["variance"])
    warnings += cautions.of_spread(tables["by_group"], min_spread, min_distinct)

    rows, is_sampled, stride = chosen_rows(rated, tables["percentiles"], max_explored)
    sampling["documents"] = every(rated.stride * stride) + ", besides extremes"
    explored, num_unknown = documents(
        rated, corpus, rows, is_sampled, masks, label_columns, topics.model if topics is not None else None
    )
    if num_unknown:
        warnings.append(
            f"The windows of {num_unknown:,} of {len(explored):,} sequences in documents.parquet cannot be found in "
            "their texts: the corpus has no tokenizer, or one that gives other tokens than the rater's."
        )
    write_table(output / "documents.parquet", explored)
    for name, table in tables.items():
        write(output, name, table, sampling)
    write_json(output / "answer.json", answer)
    from qurating.reports.analyses.drawing import draw  # with matplotlib

    labels, drawn = _labels(corpus, subsets)
    num_figures = draw(output / "plots", tables, drawn, labels)
    write_json(output / "warnings.json", warnings)
    inputs = {
        "corpus": [corpus],
        "ratings": ratings,
        "subsets": subsets,
        "checks": checks,
        "judgments": judgments,
        "raters": raters,
        "annotations": annotations,
        "scorers": scorers,
        "evaluations": evaluations,
    }
    counts: dict[str, Any] = {
        "sequences": len(rated.ids),
        "corpus_sequences": rated.num_rows,
        "sampling": sampling,
        "criteria": list(rated.ratings),
        "domains": len(rated.groups["domain"].names),
        "subsets": len(masks),
        "evaluations": len(evaluations),
        "clusters": 0 if topics is None else len(topics.names),
        "documents": len(explored),
        "warnings": len(warnings),
        "figures": num_figures,
    }
    write_json(output / "about.json", _about(inputs, rated, masks, labels, counts, num_tokens))
    page.write(output)
    return counts


def _each(given: Path | Sequence[Path] | None) -> list[Path]:
    return [] if given is None else [given] if isinstance(given, Path) else list(dict.fromkeys(given))


def _clustered(rated: Rated, corpus: Path, num_clusters: int, most: int, seed: int) -> tuple[Rated, Any, str]:
    """The rated sequences with their clusters, the topics, and which sequences they are made from."""
    from qurating.analysis.clusters import cluster

    stride = stride_for(len(rated.ids), most)
    own = slice(None, None, stride)
    positions = rated.positions[own]
    with tqdm(
        texts_at(corpus, positions, rated.file_sizes),
        total=len(positions),
        desc="clustering",
        unit="text",
        unit_scale=True,
        mininterval=0.5,
    ) as texts:
        topics = cluster(texts, num_clusters, seed_for(seed, "analyse_ratings", "clusters"))
    if topics is not None:
        codes = np.full(len(rated.ids), -1, np.int32)
        codes[own] = topics.codes
        rated = rated.with_groups(CLUSTER, Groups(codes, topics.names))
    return rated, topics, every(rated.stride * stride)


def _num_tokens(corpus: Path, rated: Rated) -> int:
    """Tokens of the training split of the corpus."""
    if rated.stride == 1:
        return int(rated.lengths.sum())
    columns = (pq.read_table(file, columns=["length"])["length"].to_numpy() for file in row_files(corpus / "train"))
    return sum(int(column.sum(dtype=np.int64)) for column in columns)


def _labels(corpus: Path, subsets: Sequence[Path]) -> tuple[dict[str, str], dict[str, str]]:
    """What people call the subsets: all of them by name, and one of those that differ in their seeds alone.

    A name is the label, with the settings in which those of one label differ, and the replicate if there are several.
    """
    found = _manifest(corpus)
    same: dict[str, list[Path]] = {}
    for subset in subsets:
        made = _manifest(subset)
        settings = (made.get("identity") or {}).get("config") or {"name": subset.name}
        kept = {key: value for key, value in settings.items() if key not in SEEDS}
        ratings = (made.get("inputs") or {}).get("ratings")
        same.setdefault(json.dumps([made.get("stage"), ratings, kept], sort_keys=True), []).append(subset)
    cells = []
    for first, *_ in same.values():
        made = _manifest(first)
        label = str((made.get("config") or {}).get("label") or first.name)
        rest = ", checked" if made.get("stage") == "check_subset" else ""
        cells.append(Cell({}, {lineage.CORPUS: found, "select": made}, label + rest, False))
    names = [cell.method for cell in with_distinct_names(cells)]
    labels = {
        subset.name: name if len(own) == 1 else f"{name}, {_replicate(found, _manifest(subset))}"
        for name, own in zip(names, same.values(), strict=True)
        for subset in own
    }
    return labels, {own[0].name: name for name, own in zip(names, same.values(), strict=True)}


def _replicate(corpus: Mapping[str, Any], subset: Mapping[str, Any]) -> str:
    seed, used = corpus.get("seed"), subset.get("seed")
    number = replicate_of(seed, used) if isinstance(seed, int) and isinstance(used, int) else None
    return f"seed {used}" if number is None else f"replicate {number}"


def _about(
    inputs: Mapping[str, Sequence[Path]],
    rated: Rated,
    masks: Mapping[str, Mask],
    subset_labels: Mapping[str, str],
    counts: Mapping[str, Any],
    num_tokens: int,
) -> dict[str, Any]:
    manifests = {
        kind: {f"{folder.parent.name}/{folder.name}": _manifest(folder) for folder in folders}
        for kind, folders in inputs.items()
    }
    labels = {label for each in manifests.values() for made in each.values() for label in made.get("labels", [])}
    return {
        "artifacts": {kind: list(each) for kind, each in manifests.items()},
        "criteria": {
            name: f"{source.ratings.parent.name}/{source.ratings.name}" for name, source in rated.sources.items()
        },
        "subset_labels": dict(subset_labels),
        "subset_tokens": {name: int(rated.lengths[mask].sum()) for name, mask in masks.items()},
        "counts": counts,
        "sampling": counts["sampling"],
        "num_tokens": num_tokens,
        "tokens": int(rated.lengths.sum()),
        "labels": sorted(labels),
        "judge_is_simulated": SIMULATED in labels,
        "manifests": manifests,
    }


def _manifest(folder: Path) -> dict[str, Any]:
    file = folder / "manifest.json"
    found: dict[str, Any] = read_json(file) if file.is_file() else {}
    return found
