"""How good the judge, the rater and the scorer are, as tables: what they measured when they were made."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from qurating.analysis.preferences import SCORER, held_out
from qurating.analysis.rated import ALL, DOMAIN, Counts, Floats, Rated, stride_for
from qurating.analysis.tables import from_rows
from qurating.artifacts.files import read_json
from qurating.metrics.ranks import spearman_interval
from qurating.metrics.shares import wilson
from qurating.runtime.errors import StageError

CONFIDENCE, LENGTH, ORDERS = "confidence", "length", "orders"  # groupings of pairs, besides the domain
MAX_ANNOTATED = 1000  # sequences of an annotation that were held out, and as many that were learned from


def _schema(strings: str, integers: str, floats: str) -> pa.Schema:
    kinds = ((strings, pa.string()), (integers, pa.int64()), (floats, pa.float64()))
    return pa.schema([(name, kind) for names, kind in kinds for name in names.split()])


JUDGE = _schema(
    "judgments mode criterion grouping group",
    "num_pairs num_triples num_ranked",
    "orders_agree low high positional_bias confident longer_preferred transitive kendall_tau",
)
JUDGE_COMPARED = _schema(
    "judgments mode compared_with compared_mode criterion",
    "num_pairs",
    "agree correlation kendall_tau compared_kendall_tau",
)
RATER_ACCURACY = _schema("rater criterion grouping group", "num_pairs", "accuracy low high")
RATER_CALIBRATION = _schema("rater criterion", "num_pairs", "bin_low bin_high predicted judged")
SCORER_ACCURACY = _schema(
    "scorer grouping group",
    "num_sequences",
    "spearman low high mse mse_of_the_mean top_fraction top_f1 top_f1_by_chance",
)
ANNOTATED = pa.schema(
    [
        *((name, pa.string()) for name in ("annotation", "criterion")),
        ("id", pa.int64()),
        ("domain", pa.string()),
        ("annotated", pa.float64()),
        ("predicted", pa.float64()),
        ("held_out", pa.bool_()),
    ]
)


def _rows(found: Sequence[Mapping[str, Any]], schema: pa.Schema) -> pa.Table:
    """A table whose rows may lack columns: null."""
    return from_rows([[row.get(name) for name in schema.names] for row in found], schema)


def _read(folder: Path, name: str, key: str, setting: str, stages: str) -> dict[str, Any]:
    """A file of an artifact, which has `key`; raises StageError for an artifact of another stage."""
    found = read_json(folder / name) if (folder / name).is_file() else {}
    if key not in found:
        raise StageError(
            f"stages.analyse_ratings.inputs.{setting}: {folder.parent.name}/{folder.name} has no {name} of {stages}"
        )
    return dict(found)


def _share(number: int, share: float | None, independent: int | None = None) -> dict[str, Any]:
    """A share of `number` judgments with its 95 % interval; `independent`: how many of them count for the interval."""
    if share is None or not number:
        return {"num_pairs": number, "accuracy": None}
    low, high = wilson(share, number if independent is None else independent)
    return {"num_pairs": number, "accuracy": share, "low": low, "high": high}


def judge(judgments: Sequence[Path]) -> tuple[pa.Table, pa.Table]:
    """What a judge's summary says of it by criterion (`JUDGE`), and compared with another judge (`JUDGE_COMPARED`).

    Imported judgments have the number of pairs, and the share of confident ones. A domain has the pairs with a text of
    it, and the agreement of their two orders.

    Raises:
        StageError: an artifact that holds no judgments.
    """
    found, compared = [], []
    for folder in judgments:
        summary = _read(folder, "summary.json", "criteria", "judgments", "judge or import_judgments")
        own = {"judgments": folder.name, "mode": summary.get("mode") or summary.get("method")}
        for criterion, measures in summary["criteria"].items():
            found.append(own | {"criterion": criterion, "grouping": ALL, "group": ALL} | _agreement(measures))
        for of_domain in summary.get("by_domain", []):
            for criterion, measures in of_domain.get("criteria", {}).items():
                group = {"criterion": criterion, "grouping": DOMAIN, "group": of_domain["domain"]}
                found.append(own | group | _agreement(measures))
        other = summary.get("compared")
        if other:
            names = {"compared_with": other["with"], "compared_mode": other["mode"]}
            for criterion, measures in other["criteria"].items():
                taus = {
                    "kendall_tau": summary["criteria"][criterion].get("kendall_tau"),
                    "compared_kendall_tau": measures.get("kendall_tau"),
                }
                compared.append(own | names | {"criterion": criterion} | measures | taus)
    return _rows(found, JUDGE), _rows(compared, JUDGE_COMPARED)


def _agreement(measures: Mapping[str, Any]) -> dict[str, Any]:
    low, high = measures.get("orders_agree_interval") or (None, None)
    return {**measures, "low": low, "high": high}


def rater_accuracy(raters: Sequence[Path]) -> pa.Table:
    """How often a rater prefers the same text as the judge, on held-out pairs (`RATER_ACCURACY`).

    All pairs together, and by domain: those that the judge is confident of; the other groupings have all pairs. A null
    criterion stands for all together; the interval then counts a pair once, since its judgments are not independent.

    Raises:
        StageError: an artifact that is no rater.
    """
    found = []
    for folder in raters:
        report = _read(folder, "validation.json", "by_criterion", "raters", "train_rater")
        num_criteria = len(report["accuracy"])
        groups: list[tuple[str | None, str, str, Mapping[str, Any]]] = []
        for criterion, accuracy in report["accuracy"].items():
            of_criterion = report["by_criterion"][criterion]
            pairs = {"accuracy": accuracy, "num_pairs": report["num_pairs"][criterion]}
            groups.append((criterion, ALL, ALL, pairs))
            groups += [(criterion, CONFIDENCE, group, part) for group, part in of_criterion["by_confidence"].items()]
            for grouping, key, names in (
                (LENGTH, "length", {"longer": "where_judge_prefers_longer", "shorter": "where_judge_prefers_shorter"}),
                (ORDERS, "order_flips", {"agree": "where_judge_does_not", "disagree": "where_judge_flips"}),
            ):
                part = of_criterion.get(key)
                groups += [(criterion, grouping, group, part[name]) for group, name in names.items()] if part else []
        groups += [(None, CONFIDENCE, group, part) for group, part in report["by_confidence"].items()]
        groups += [(None, DOMAIN, group, part) for group, part in report["by_domain"].items()]
        for criterion_or_all, grouping, group, part in groups:
            number = part["num_pairs"]
            independent = max(1, number // num_criteria) if criterion_or_all is None else number
            row = {"rater": folder.name, "criterion": criterion_or_all, "grouping": grouping, "group": group}
            found.append(row | _share(number, part["accuracy"], independent))
    return _rows(found, RATER_ACCURACY)


def rater_calibration(raters: Sequence[Path]) -> pa.Table:
    """The rater's probability of the text that it prefers and the judge's, in bins, on held-out pairs.

    Of all pairs that are judged (`RATER_CALIBRATION`); see `metrics.rater.calibration`.
    """
    found = []
    for folder in raters:
        report = _read(folder, "validation.json", "by_criterion", "raters", "train_rater")
        for criterion, of_criterion in report["by_criterion"].items():
            for part in of_criterion["calibration"]["bins"]:
                ends = {"bin_low": part["low"], "bin_high": part["high"]}
                found.append({"rater": folder.name, "criterion": criterion} | part | ends)
    return _rows(found, RATER_CALIBRATION)


def calibration_error(bins: Sequence[Mapping[str, Any]]) -> tuple[float | None, float | None, int]:
    """Σ_k n_k |predicted_k − judged_k| / N of bins of `rater_calibration`, the same without bars, and N.

    The second one is above 0 for a rater that is surer than the judge.
    """
    number = sum(row["num_pairs"] for row in bins)
    if not number:
        return None, None, 0
    gaps = [row["num_pairs"] * (row["predicted"] - row["judged"]) for row in bins]
    return sum(map(abs, gaps)) / number, sum(gaps) / number, number


def scorer(scorers: Sequence[Path]) -> pa.Table:
    """How well a scorer orders held-out annotated sequences: all, and by domain (`SCORER_ACCURACY`).

    Raises:
        StageError: an artifact that is no scorer.
    """
    found = []
    for folder in scorers:
        report = _read(folder, "validation.json", "spearman", "scorers", "train_scorer")
        parts = [(ALL, ALL, report), *((DOMAIN, name, part) for name, part in report.get("by_domain", {}).items())]
        for grouping, group, part in parts:
            low, high = spearman_interval(part["spearman"], part["num_sequences"]) or (None, None)
            row = {"scorer": folder.name, "grouping": grouping, "group": group, "low": low, "high": high}
            top = {f"top_{name}": part["top"][name] for name in ("fraction", "f1", "f1_by_chance")}
            found.append(
                row
                | {name: part[name] for name in ("num_sequences", "spearman")}
                | top
                | {name: part[name] for name in ("mse", "mse_of_the_mean")}
            )
    return _rows(found, SCORER_ACCURACY)


def tables(judgments: Sequence[Path], raters: Sequence[Path], scorers: Sequence[Path]) -> dict[str, pa.Table]:
    """The tables of judges, raters and scorers, by name; empty where there is no artifact."""
    of_judge, compared = judge(judgments)
    return {
        "judge": of_judge,
        "judge_compared": compared,
        "rater_accuracy": rater_accuracy(raters),
        "rater_calibration": rater_calibration(raters),
        "scorer": scorer(scorers),
    }


def annotated_lqs(rated: Rated, annotations: Sequence[Path]) -> dict[str, Floats]:
    """The annotated LQS of the proxy sequences among the rated ones, by annotation; NaN for all others."""
    found = {}
    for annotation in annotations:
        table = pq.read_table(annotation / "annotation.parquet", columns=["id", "lqs"])
        rows = rated.rows_of(table["id"].to_numpy())
        values = np.full(len(rated.ids), np.nan)
        values[rows[rows >= 0]] = table["lqs"].to_numpy()[rows >= 0]
        found[f"annotated lqs ({annotation.name})"] = values
    return found


def annotated(with_ids: Callable[[Counts], Rated], annotations: Sequence[Path]) -> pa.Table:
    """Annotated scores beside those that a scorer predicts, for some of the annotated sequences (`ANNOTATED`).

    Predictions are the ratings of the stage score. At most `MAX_ANNOTATED` sequences that the scorer did not learn
    from, and as many others, are taken, evenly spaced in the annotation. `annotated` is in standard deviations from the
    mean of the sequences that the scorer learned from, which is the unit of its scores; of all annotated ones, where
    nothing or not all is known of what it learned from. `held_out` is null where that is unknown.

    Args:
        with_ids: the rated sequences among some ids, and maybe others; annotated ones that it lacks are left out.
    """
    parts = []
    for annotation in annotations:
        table = pq.read_table(annotation / "annotation.parquet", columns=["id", "lqs"])
        ids, lqs = table["id"].to_numpy(), table["lqs"].to_numpy().astype(np.float64)
        rated = with_ids(ids)
        rows = rated.rows_of(ids)
        there = rows >= 0
        for criterion, source in rated.sources.items():
            made = source.ratings / "manifest.json"
            if not made.is_file() or read_json(made).get("stage") != SCORER.stage:
                continue
            mask = held_out(source.ratings, annotation, len(ids), SCORER)
            learned = np.ones(len(ids), bool) if mask is None or mask.all() else ~mask
            deviation = float(lqs[learned].std())
            predicted = np.full(len(ids), np.nan)
            predicted[there] = rated.ratings[criterion][rows[there]]
            usable = np.isfinite(predicted) & np.isfinite(lqs)
            if not deviation > 0:
                continue
            chosen = np.sort(
                np.concatenate(
                    [
                        part[:: stride_for(len(part), MAX_ANNOTATED)]
                        for part in (np.flatnonzero(usable & learned), np.flatnonzero(usable & ~learned))
                    ]
                )
            )
            domain = rated.groups[DOMAIN]
            parts.append(
                pa.table(
                    [
                        pa.array([annotation.name] * len(chosen), pa.string()),
                        pa.array([criterion] * len(chosen), pa.string()),
                        pa.array(ids[chosen], pa.int64()),
                        pa.array([domain.names[code] for code in domain.codes[rows[chosen]].tolist()], pa.string()),
                        pa.array((lqs[chosen] - lqs[learned].mean()) / deviation),
                        pa.array(predicted[chosen]),
                        pa.nulls(len(chosen), pa.bool_()) if mask is None else pa.array(mask[chosen]),
                    ],
                    schema=ANNOTATED,
                )
            )
    return pa.concat_tables([ANNOTATED.empty_table(), *parts])
