"""What the stage analyse_ratings leaves behind: ratings are statistics of the text, subsets are real draws.

The tables are computed as the stage's definitions say, in a few lines of numpy, so that the page shows something true.
"""

import itertools
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from qurating.analysis.results import RESULTS
from qurating.corpus.embedded import Embedded
from qurating.evaluation.methods import COLUMNS
from qurating.evaluation.runs import COMPLETE

CRITERIA = ("writing_style", "facts_and_trivia", "educational_value")
SUBSETS = ("uniform", "educational_value_top-k", "educational_value_tau_2")
CHARACTERS_PER_TOKEN = 4
WINDOW = 1_400  # characters

Floats = npt.NDArray[np.float64]


def sequences(num_per_domain: int, characters: int = 4_200) -> list[dict[str, Any]]:
    """Sequences of the embedded corpus: at most `num_per_domain` of each of its domains."""
    found: dict[str, list[dict[str, Any]]] = {}
    for document in Embedded(max_characters_per_domain=num_per_domain * characters, max_characters_per_document=60_000):
        for position, start in enumerate(range(0, len(document.text), characters)):
            text = document.text[start : start + characters]
            rows = found.setdefault(document.domain, [])
            if len(text) > 200 and len(rows) < num_per_domain:
                rows.append(
                    {"document_id": document.document_id, "position": position, "domain": document.domain, "text": text}
                )
    return list(itertools.chain.from_iterable(found.values()))


def _features(text: str) -> list[float]:
    words = text.split() or [""]
    return [
        -abs(sum(map(len, words)) / len(words) - 4.8),
        sum(c.isdigit() or c.isupper() for c in text) / len(text) * 12,
        sum(word.lower() in {"the", "of", "is", "that", "because", "and", "to", "for"} for word in words)
        / len(words)
        * 9,
    ]


def _windows(text: str) -> tuple[Floats, list[int]]:
    """Ratings [window, criterion] of the windows of a text, and where they end."""
    ends = [*range(WINDOW, len(text), WINDOW), len(text)]
    starts = [0, *ends[:-1]]
    return np.array([_features(text[a:b]) for a, b in zip(starts, ends, strict=True)]), ends


def _percentiles(values: Floats) -> Floats:
    return 100 * values.argsort().argsort() / max(1, len(values) - 1)


def _eta_squared(values: Floats, groups: Sequence[str]) -> float:
    names = np.array(groups)
    between = sum((names == name).sum() * (values[names == name].mean() - values.mean()) ** 2 for name in set(groups))
    return float(between / max(1e-12, ((values - values.mean()) ** 2).sum()))


def _pearson(a: Floats, b: Floats) -> float | None:
    """None where one is constant."""
    return float(np.corrcoef(a, b)[0, 1]) if a.std() and b.std() else None


def _by_group(grouping: str, labels: Sequence[str], length: Floats, ratings: Floats) -> list[dict[str, Any]]:
    rows = []
    names = np.array(labels)
    for name, (c, criterion) in itertools.product(sorted(set(labels)), enumerate(CRITERIA)):
        of = names == name
        values = ratings[of, c]
        row = {"grouping": grouping, "group": name, "criterion": criterion, "num": int(of.sum())}
        row |= {"tokens": int(length[of].sum()), "mean": values.mean(), "sd": values.std()}
        row |= {"distinct": len(np.unique(values.round(6)))}
        rows.append(row | {f"p{p}": float(np.percentile(values, p)) for p in (5, 25, 50, 75, 95)})
    return rows


def _taken(scores: Floats, length: Floats, share: float = 0.3) -> npt.NDArray[np.bool_]:
    """The sequences with the highest scores that make up `share` of the tokens."""
    order = np.argsort(-scores, kind="stable")
    kept = np.zeros(len(scores), bool)
    kept[order[np.cumsum(length[order]) <= share * length.sum()]] = True
    return kept


def write(folder: Path, rows: list[dict[str, Any]], simulated: bool = True, seed: int = 0) -> Path:
    """Write documents.parquet, tables/, about.json and warnings.json of `rows`: document_id, position, domain, text."""
    rng = np.random.default_rng(seed)
    (folder / "tables").mkdir(parents=True)
    windows = [_windows(row["text"] or " ") for row in rows]
    ratings = np.array([each.mean(axis=0) for each, _ in windows]) * [1, 1, 1.5]
    length = np.array([max(1, len(row["text"] or "") // CHARACTERS_PER_TOKEN) for row in rows], np.float64)
    domains = [row["domain"] for row in rows]
    clusters = [
        ("the of is", "def self return", "license copyright software")[len(row["text"] or "") % 3] for row in rows
    ]
    ids = [7_000_000_000_000_000_000 + row for row in range(len(rows))]  # beyond what a double holds
    noise = rng.gumbel(size=(2, len(rows)))
    normal = (ratings[:, 2] - ratings[:, 2].mean()) / max(1e-9, ratings[:, 2].std())
    scores = dict(zip(SUBSETS, (noise[0], normal, normal / 2 + noise[1]), strict=True))
    kept = {f"select_30_percent_by-{name}": _taken(scores[name], length) for name in SUBSETS}
    table: dict[str, Any] = {
        "id": pa.array(ids, pa.int64()),
        "document_id": [row["document_id"] for row in rows],
        "position": pa.array([row["position"] for row in rows], pa.int32()),
        "domain": domains,
        "cluster": clusters,
        "length": pa.array(length.astype(np.int32)),
        "text": pa.array([row["text"] for row in rows], pa.string()),
        "window_ends": pa.array([ends for _, ends in windows], pa.list_(pa.int32())),
        "column.language": ["en"] * len(rows),
        "sampled": [row % 5 > 0 for row in range(len(rows))],
    }
    for c, criterion in enumerate(CRITERIA):
        table[f"rating.{criterion}"] = pa.array(ratings[:, c].astype(np.float32))
        table[f"percentile.{criterion}"] = pa.array(_percentiles(ratings[:, c]).astype(np.float32))
        table[f"windows.{criterion}"] = pa.array([w[:, c].tolist() for w, _ in windows], pa.list_(pa.float32()))
    table |= {f"kept.{name}": mask for name, mask in kept.items()}
    pq.write_table(pa.table(table), folder / "documents.parquet")
    tables = _tables(ratings, length, domains, clusters, ids, kept, normal, noise[1]) | _of_trainings()
    for name, content in tables.items():
        pq.write_table(pa.Table.from_pylist(content), folder / "tables" / f"{name}.parquet")
    subsets = {f"select_30_percent_by-{name}": name for name in SUBSETS}
    artifacts = {
        "corpus": ["corpora/embedded"],
        "ratings": ["ratings/rater-tiny"],
        "subsets": [f"subsets/{name}" for name in subsets],
        "checks": [],
        "judgments": ["judgments/simulated"],
        "raters": ["models/rater-tiny"],
        "annotations": ["annotations/tiny"],
        "scorers": ["models/scorer-tiny"],
        "evaluations": [f"evaluations/lm-{name}-{seed}" for name in SUBSETS for seed in (0, 1)],
    }
    labels = ["simulated judge"] if simulated else []
    files = {f"train/{shard:05}.parquet": {"bytes": 1_000, "sha256": "0" * 64} for shard in range(50)}
    about = {
        "artifacts": artifacts,
        "subset_labels": subsets,
        "counts": {"sequences": len(rows), "corpus_sequences": 10 * len(rows)},
        "sampling": {"sequences": "every sequence", "documents": "every sequence, besides extremes"},
        "tokens": int(length.sum()),
        "labels": labels,
        "judge_is_simulated": simulated,
        "manifests": {
            kind: {name: {"stage": kind, "name": name, "labels": labels, "files": files} for name in of}
            for kind, of in artifacts.items()
        },
    }
    (folder / "about.json").write_text(json.dumps(about))
    (folder / "answer.json").write_text(json.dumps(answered()))
    (folder / "warnings.json").write_text(json.dumps(["The domain licences has few documents of several windows."]))
    return folder


def _of_raters(domains: list[str], ids: list[int], normal: Floats) -> dict[str, list[dict[str, Any]]]:
    """The tables of a judge, a rater and a scorer."""
    of_all = [(criterion, "all", "all", 400 - c) for c, criterion in enumerate(CRITERIA)]
    by_domain = [(criterion, "domain", name, 60) for criterion in CRITERIA for name in sorted(set(domains))]
    agreed = {"mode": "pairwise", "low": 0.8, "high": 0.95, "positional_bias": 0.03, "confident": 0.7}
    agreed |= {"longer_preferred": 0.6, "num_triples": 50, "transitive": 0.98, "num_ranked": 0, "kendall_tau": None}
    parts = [*of_all, *(each for each in by_domain if each[0] == CRITERIA[0])]
    parts += [(criterion, "confidence", f"0.{low:02}-1.00", 90) for criterion in CRITERIA for low in (0, 25, 50, 75)]
    parts += [(CRITERIA[0], "length", "longer", 80), (CRITERIA[0], "length", "shorter", 40)]
    keys = ("criterion", "grouping", "group", "num_pairs")
    return {
        "judge": [
            dict(zip(keys, row, strict=True)) | agreed | {"judgments": "simulated", "orders_agree": 0.9}
            for row in (*of_all, *by_domain)
        ],
        "judge_compared": [
            {"judgments": "simulated", "mode": "pairwise", "compared_with": "judgments/grades", "criterion": criterion}
            | {"compared_mode": "individual", "num_pairs": 90, "agree": 0.8, "correlation": 0.7, "kendall_tau": None}
            | {"compared_kendall_tau": None}
            for criterion in CRITERIA
        ],
        "rater_accuracy": [
            dict(zip(keys, (None if row[1] == "domain" else row[0], *row[1:]), strict=True))
            | {"rater": "rater-tiny", "accuracy": 0.75, "low": 0.7, "high": 0.8}
            for row in parts
        ],
        "rater_calibration": [
            {"rater": "rater-tiny", "criterion": criterion, "num_pairs": 40, "predicted": q, "judged": q + 0.04}
            for criterion in CRITERIA
            for q in (0.52, 0.63, 0.81)
        ],
        "scorer": [
            {"scorer": "scorer-tiny", "grouping": grouping, "group": group, "num_sequences": 30, "spearman": 0.4}
            | {"low": 0.1, "high": 0.7, "mse": 0.8, "mse_of_the_mean": 1.0, "top_fraction": 0.3, "top_f1": 0.5}
            | {"top_f1_by_chance": 0.3}
            for grouping, group in (("all", "all"), *(("domain", name) for name in sorted(set(domains))))
        ],
        "annotated": [
            {"annotation": "tiny", "criterion": CRITERIA[2], "id": ids[row], "domain": domains[row]}
            | {"annotated": float(normal[row]), "predicted": float(normal[row]) / 2, "held_out": row % 3 == 0}
            for row in range(len(ids))
        ],
    }


def answered() -> list[dict[str, Any]]:
    """The methods over two seeds, as `evaluation.methods.rows` has them: uniform, a better one, and another."""
    losses = {SUBSETS[0]: (3.0, None, None), SUBSETS[1]: (2.6, 0.01, 1.5), SUBSETS[2]: (3.1, 0.4, None)}
    found = []
    for name, (loss, p, factor) in losses.items():
        row: dict[str, Any] = dict.fromkeys(COLUMNS)
        row |= {"group": 1, "rank": 1, "method": name, "state": COMPLETE, "tokens": 120_000, "part": "prose", "p": p}
        row |= {"seeds": ["0", "1"], "num_seeds": 2, "loss": loss, "loss_low": loss - 0.1, "loss_high": loss + 0.1}
        row |= {"is_uniform": name == SUBSETS[0], "num_pairs": 2 if p else 0, "p_holm": p, "token_factor": factor}
        row |= {"token_factor_from": "budgets" if factor else None, "labels": [], "notes": ["a note"]}
        row |= {"task_results": [], "elsewhere": {"tables": 1.5} if p else None}
        if p:
            ends = {"difference_low": loss - 3.0 - 0.2, "difference_high": loss - 3.0 + 0.2}
            row |= {"reference": SUBSETS[0], "difference": loss - 3.0, **ends}
        row["evaluations"] = [f"evaluations/lm-{name}-{seed} (0123456789abcdef)" for seed in (0, 1)]
        found.append(row)
    return found


def _of_trainings() -> dict[str, list[dict[str, Any]]]:
    """The tables `results` and `curves` of `answered`."""
    checked = {"num_checked": 1, "near_duplicate_share": 0.012, "contaminated_share": 0.002}
    rows = [
        {"number": number, **{name: row[name] for name in RESULTS.names if name in row}, **checked}
        for number, row in enumerate(answered())
    ]
    curves = [
        {"number": row["number"], "method": row["method"], "replicate": seed, "kind": kind}
        | {"tokens": tokens, "nats_per_token": row["loss"] + 2 * (1 - tokens / 120_000)}
        for row in rows
        for seed in ("0", "1")
        for kind, count in (("heldout", 4), ("training", 150))
        for tokens in np.geomspace(1_000, 120_000, count).astype(int).tolist()
    ]
    return {"results": rows, "curves": curves}


def _tables(
    ratings: Floats,
    length: Floats,
    domains: list[str],
    clusters: list[str],
    ids: list[int],
    kept: dict[str, npt.NDArray[np.bool_]],
    normal: Floats,
    noise: Floats,
) -> dict[str, list[dict[str, Any]]]:
    names, total = np.array(domains), length.sum()
    by_length = [str(int(np.log2(value))) for value in length]
    share_of = {name: float(length[names == name].sum() / total) for name in sorted(set(domains))}
    found: dict[str, list[dict[str, Any]]] = {
        "by_group": [
            *_by_group("domain", domains, length, ratings),
            *_by_group("cluster", clusters, length, ratings),
        ],
        "variance": [
            {"criterion": criterion, "explained_by": by, "eta_squared": _eta_squared(ratings[:, c], groups)}
            for c, criterion in enumerate(CRITERIA)
            for by, groups in (("domain", domains), ("length", by_length), ("cluster", clusters))
        ],
        "preferences": [
            {"criterion": name, "where": where, "num_pairs": 900, "auc": auc, "low": auc - 0.03, "high": auc + 0.03}
            for c, name in enumerate(CRITERIA)
            for where, auc in (("within", 0.66 + 0.05 * c), ("across", 0.84 + 0.03 * c))
        ],
        "first_window": [
            {"criterion": name, "num_documents": 120, "pearson": 0.9 - 0.1 * c, "mean_absolute_difference_sd": 0.3}
            for c, name in enumerate(CRITERIA)
        ],
        "clusters": [
            {"cluster": name, "top_terms": name.replace(" ", ", "), "num": clusters.count(name)}
            for name in sorted(set(clusters))
        ],
        "normalisation": [{"criterion": name, "share_changed": 0.2 + 0.1 * c} for c, name in enumerate(CRITERIA)],
        "duplicates": [
            {"subset": name, "near_duplicate_share": 0.01 * n, "contaminated_share": 0.002}
            for n, name in enumerate(kept)
        ],
    }
    found |= _of_raters(domains, ids, normal)
    columns = dict(zip((*CRITERIA, "length"), (*ratings.T, length), strict=True))
    ranks = {name: values.argsort(kind="stable").argsort() for name, values in columns.items()}
    found["correlations"] = [
        {"first": a, "second": b, "pearson": _pearson(columns[a], columns[b]), "spearman": _pearson(ranks[a], ranks[b])}
        for a, b in itertools.combinations(columns, 2)
    ]
    found["percentiles"] = []
    for (c, criterion), name in itertools.product(enumerate(CRITERIA), share_of):
        of = np.flatnonzero(names == name)
        order = of[np.argsort(ratings[of, c], kind="stable")]
        for percentile in (5, 30, 70, 95):
            row = order[round(percentile / 100 * (len(order) - 1))]
            content = {"criterion": criterion, "domain": name, "percentile": float(percentile)}
            found["percentiles"].append(content | {"id": ids[row], "rating": float(ratings[row, c])})
    found["retention"] = []
    for subset, is_kept in kept.items():
        for grouping, labels in (("domain", domains), ("cluster", clusters)):
            for name in sorted(set(labels)):
                of = np.array(labels) == name
                tokens, taken = float(length[of].sum()), float(length[of & is_kept].sum())
                found["retention"].append(
                    {
                        "grouping": grouping,
                        "group": name,
                        "subset": subset,
                        "tokens": int(tokens),
                        "kept_tokens": int(taken),
                        "share_kept": taken / tokens,
                        "share_of_subset": taken / max(1.0, float(length[is_kept].sum())),
                        "share_of_corpus": tokens / total,
                    }
                )
    found["overlap"] = [
        {
            "first": a,
            "second": b,
            "shared_tokens": int(length[kept[a] & kept[b]].sum()),
            "share": float(length[kept[a] & kept[b]].sum() / max(1.0, length[kept[a] | kept[b]].sum())),
            "by_chance": 0.3 / 1.7,  # of two random subsets with 30 % each
        }
        for a, b in itertools.combinations(kept, 2)
    ]
    found["temperatures"] = []
    for temperature in (0.0, *np.geomspace(0.05, 20, 28), np.inf):
        scores = normal if temperature == 0 else noise if np.isinf(temperature) else normal / temperature + noise
        is_kept = _taken(scores, length)
        for name, share in share_of.items():
            taken = float(length[is_kept & (names == name)].sum() / max(1.0, length[is_kept].sum()))
            row = {
                "temperature": float(temperature),
                "domain": name,
                "share": share if np.isinf(temperature) else taken,
            }
            found["temperatures"] += [{"criterion": criterion} | row for criterion in CRITERIA]
    return found
