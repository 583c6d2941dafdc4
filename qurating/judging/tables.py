"""The tables of a judge's answers: judgments.parquet, grades.parquet, failures.jsonl."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from qurating.artifacts.files import write_table
from qurating.judging import preferences
from qurating.judging.pairs import Pairs
from qurating.judging.requests import Requests
from qurating.judging.settings import JudgeSettings


def preferred(requests: Requests, pairs: Pairs) -> preferences.Floats:
    """P(text 1 ≻ text 0) of every pair, (pairs, criteria)."""
    if requests.pairwise:
        weights = requests.weights
        return np.stack([preferences.pair_preferences(weights[:, c]) for c in range(weights.shape[1])], axis=1)
    grades = requests.grades
    columns = [preferences.grade_preferences(grades[:, c], pairs.first, pairs.second) for c in range(grades.shape[1])]
    return np.stack(columns, axis=1)


def write(
    output: Path,
    pairs: Pairs,
    criteria: Mapping[str, Any],
    requests: Requests,
    preference: preferences.Floats,
    settings: JudgeSettings,
) -> None:
    """Write judgments.parquet; grades.parquet if texts were graded; failures.jsonl if requests failed."""
    kept = slice(settings.num_pairs)  # the pairs of a ranking come after them
    places = list(zip(pairs.first[kept].tolist(), pairs.second[kept].tolist(), strict=True))
    columns: dict[str, Any] = {
        "texts": pa.array([[pairs.texts[i], pairs.texts[j]] for i, j in places], pa.list_(pa.string())),
        "indices": pa.array([[pairs.ids[i], pairs.ids[j]] for i, j in places], pa.list_(pa.int64())),
        "domains": pa.array([[pairs.domains[i], pairs.domains[j]] for i, j in places], pa.list_(pa.string())),
        "method": pa.array([requests.method if requests.pairwise else "grades"] * len(places)),
    }
    weights = requests.weights if requests.pairwise else None
    for index, name in enumerate(criteria):
        if weights is not None:
            matrices = preferences.pair_matrices(weights[kept, index])
        else:
            matrices = preferences.grade_matrices(preference[kept, index])
        for kind, matrix in matrices.items():
            columns[f"{name}_{kind}"] = pa.array(matrix.tolist(), pa.list_(pa.list_(pa.float64())))
    write_table(output / "judgments.parquet", pa.table(columns))
    if not requests.pairwise:
        graded: dict[str, Any] = {"index": pairs.ids, "domain": pairs.domains, "text": pairs.texts}
        graded["method"] = [requests.method] * len(pairs.ids)
        for index, name in enumerate(criteria):
            grades = [row[~np.isnan(row)].astype(int).tolist() for row in requests.grades[:, index]]
            graded[f"{name}_grades"] = pa.array(grades, pa.list_(pa.int64()))
            graded[f"{name}_average"] = pa.array([float(np.mean(g)) if g else None for g in grades], pa.float64())
        write_table(output / "grades.parquet", pa.table(graded))
    if requests.failures:
        names = list(criteria)
        lines = []
        for position, answer in sorted(requests.failures.items()):
            unit, criterion, *rest = requests.place(position)
            ids = [pairs.ids[i] for i in ((pairs.first[unit], pairs.second[unit]) if requests.pairwise else (unit,))]
            entry = {"indices": ids, "criterion": names[criterion], "reason": answer.reason, "detail": answer.detail}
            lines.append(json.dumps(entry | ({"order": rest[0]} if requests.pairwise else {})) + "\n")
        (output / "failures.jsonl").write_text("".join(lines), encoding="utf-8")
