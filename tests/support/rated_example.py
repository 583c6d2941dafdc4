"""Small rated corpora: in memory, and on disk with subsets, judgments and checks."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from qurating.analysis.rated import DOMAIN, Groups, Rated, Source
from qurating.artifacts.files import write_json, write_table
from qurating.metrics.rater import report as rater_report
from qurating.metrics.scorer import report as scorer_report

DOMAINS = ("books", "web", "code")
NUM_ROWS, ROWS_A_SHARD = 240, 80
TOPICS = (
    "the river carries water and fish past the mountain forest and its old trees",
    "the parliament passed a law after the minister spoke about taxes and elections",
    "the function returns a list of integers and raises an exception for wrong arguments",
)


def groups(names: Sequence[str]) -> Groups:
    """Groups by name; those with an empty name are in no group."""
    known = sorted(set(names) - {""})
    return Groups(np.array([known.index(name) if name else -1 for name in names], np.int32), known)


def rated(
    ratings: Mapping[str, npt.ArrayLike],
    domains: Sequence[str],
    lengths: npt.ArrayLike | None = None,
    more: Mapping[str, Groups] | None = None,
) -> Rated:
    """In memory; ids count from 1,000."""
    count = len(domains)
    return Rated(
        ids=np.arange(1000, 1000 + count),
        lengths=np.full(count, 10, np.int64) if lengths is None else np.asarray(lengths, np.int64),
        groups={DOMAIN: groups(domains), **(more or {})},
        ratings={name: np.asarray(values, np.float64) for name, values in ratings.items()},
        sources={name: Source(Path("ratings/r"), name) for name in ratings},
        file_sizes=[count],
        stride=1,
    )


def drawn(count: int = 200, seed: int = 0) -> Rated:
    """Two criteria, of which `style` depends on the domain, over sequences of 5 to 50 tokens."""
    draw = np.random.default_rng(seed)
    codes = draw.integers(0, 3, count)
    style = draw.normal(size=count) + codes
    return rated(
        {"style": style, "facts": draw.normal(size=count).round(1)},
        [DOMAINS[code] for code in codes],
        draw.integers(5, 50, count),
    )


def on_disk(root: Path, seed: int = 0, **columns: Sequence[Any]) -> dict[str, Path]:
    """A corpus of three shards, two artifacts of ratings, a uniform subset, judgments: their folders by kind.

    Every document has two sequences, every sequence two windows. `columns` are added to the corpus.
    """
    draw = np.random.default_rng(seed)
    rows = np.arange(NUM_ROWS)
    topic = rows // 2 % 3
    quality = draw.normal(size=NUM_ROWS)
    lengths = draw.integers(20, 60, NUM_ROWS).astype(np.int32)
    windows = np.stack([lengths // 2, lengths - lengths // 2], 1)
    each = {name: quality[:, None] + draw.normal(size=(NUM_ROWS, 2)) for name in ("style", "facts", "lqs")}
    own: dict[str, Any] = {
        "id": 1000 + rows,
        "document_id": [f"d{row // 2}" for row in rows],
        "position": (rows % 2).astype(np.int32),
        "domain": [DOMAINS[code] for code in topic],
        "text": [f"{TOPICS[code]} {row % 7}" for code, row in zip(topic, rows, strict=True)],
        "length": lengths,
        **columns,
    }
    for number in range(0, NUM_ROWS, ROWS_A_SHARD):
        part, file = slice(number, number + ROWS_A_SHARD), f"train/{number // ROWS_A_SHARD:05}.parquet"
        write_table(root / "corpora/c" / file, pa.table({name: values[part] for name, values in own.items()}))
        for name, criteria in (("ratings/r", ("style", "facts")), ("scores/s", ("lqs",))):
            table: dict[str, Any] = {"id": own["id"][part], "length": lengths[part]}
            table["chunk_lengths"] = pa.array(windows[part].tolist(), pa.list_(pa.int32()))
            for criterion in criteria:
                values = each[criterion][part]
                table[f"{criterion}_chunks"] = pa.array(values.tolist(), pa.list_(pa.float32()))
                table[f"{criterion}_average"] = (values * windows[part]).sum(1) / lengths[part]
            write_table(root / name / file, pa.table(table))
    write_json(root / "scores/s/manifest.json", {"stage": "score", "labels": [], "inputs": {}})
    write_json(root / "ratings/r/manifest.json", {"stage": "rate", "labels": ["simulated judge"], "inputs": {}})
    subset(root / "subsets/a", rows[::3], lengths)
    subset(root / "subsets/b", rows[::2], lengths)
    pairs = draw.integers(0, NUM_ROWS, (120, 2))
    judged(root / "judgments/j", 1000 + pairs, quality[pairs[:, 1]] > quality[pairs[:, 0]])
    folders = ("corpora/c", "ratings/r", "scores/s", "subsets/a", "subsets/b", "judgments/j")
    return {name.rpartition("/")[2]: root / name for name in folders}


def subset(folder: Path, rows: npt.NDArray[np.int64], lengths: npt.NDArray[np.int32]) -> None:
    index = {"id": 1000 + rows, "shard": rows // ROWS_A_SHARD, "row": rows % ROWS_A_SHARD, "length": lengths[rows]}
    write_table(folder / "subset.parquet", pa.table(index))
    write_json(folder / "manifest.json", {"config": {"label": f"label of {folder.name}"}, "labels": []})


def judged(folder: Path, ids: npt.NDArray[np.int64], prefers_second: npt.NDArray[np.bool_]) -> None:
    p = np.where(prefers_second, 0.9, 0.1)
    matrices = np.stack([np.full(len(p), -100.0), p, 1 - p, np.full(len(p), -100.0)], 1).reshape(-1, 2, 2).tolist()
    table = {"indices": ids.tolist(), "style_average": matrices, "facts_average": matrices}
    write_table(folder / "judgments.parquet", pa.table(table))
    agreed = {"num_pairs": len(p), "orders_agree": 0.9, "orders_agree_interval": [0.85, 0.95]}
    write_json(folder / "summary.json", {"mode": "pairwise", "criteria": {"style": agreed, "facts": agreed}})


def rater(folder: Path, seed: int = 0) -> Path:
    """What a rater of two criteria leaves of its validation: it prefers the judge's text in most pairs by `style`."""
    draw = np.random.default_rng(seed)
    a, b = draw.normal(size=(2, 300, 2))
    preference = 1 / (1 + np.exp(-3 * np.stack([b[:, 0] - a[:, 0], draw.normal(size=300)], 1)))
    domains = [[DOMAINS[i], DOMAINS[j]] for i, j in draw.integers(0, 3, (300, 2))]
    orders = np.clip(preference[:, :, None] + draw.normal(scale=0.2, size=(300, 2, 2)), 0, 1)
    lengths = draw.integers(20, 60, (300, 2))
    write_json(
        folder / "validation.json",
        rater_report(a, b, preference, 0.5, ["style", "facts"], domains, lengths, orders),
    )
    return folder


def scorer(folder: Path, correlation: float = 0.8, seed: int = 0) -> Path:
    """What a scorer leaves of its validation, on 120 sequences."""
    draw = np.random.default_rng(seed)
    annotated, noise = draw.normal(size=(2, 120))
    predicted = correlation * annotated + np.sqrt(1 - correlation**2) * noise
    write_json(folder / "validation.json", scorer_report(annotated, predicted, 3.0, [*DOMAINS] * 40))
    return folder


def analysed(output: Path, made: Mapping[str, Path], **changes: Any) -> dict[str, Any]:
    """Run the stage."""
    from qurating.stages.comparison.analyse_ratings import analyse_ratings

    output.mkdir()
    settings: dict[str, Any] = {
        "ratings": [made["r"], made["s"]],
        "subsets": [made["a"], made["b"]],
        "checks": [],
        "judgments": [made["j"]],
        "raters": [],
        "annotations": [],
        "scorers": [],
        "evaluations": [],
        "domain_column": "domain",
        "label_columns": [],
        "max_sequences": 1000,
        "num_tokens": 2000,
        "clusters": 3,
        "max_clustered": 1000,
        "max_explored": 50,
        "min_spread": 0.1,
        "min_distinct": 10,
        "seed": 0,
    }
    return analyse_ratings(output=output, corpus=made["c"], **(settings | changes))
