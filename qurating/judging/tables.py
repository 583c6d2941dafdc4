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
from qurating.judging.requests import Questions
from qurating.judging.settings import JudgeSettings


def preferred(questions: Questions, pairs: Pairs) -> preferences.Floats:
    """P(text 1 ≻ text 0) of every pair, (pairs, criteria)."""
    if questions.pairwise:
        weights = questions.weights
        return np.stack([preferences.pair_preferences(weights[:, c]) for c in range(weights.shape[1])], axis=1)
    grades = questions.grades
    columns = [preferences.grade_preferences(grades[:, c], pairs.first, pairs.second) for c in range(grades.shape[1])]
    return np.stack(columns, axis=1)


def write(
    output: Path,
    pairs: Pairs,
    criteria: Mapping[str, Any],
    questions: Questions,
    preference: preferences.Floats,
    settings: JudgeSettings,
) -> None:
    """judgments.parquet; grades.parquet, where texts were graded; failures.jsonl, where requests failed."""
    kept = slice(settings.num_pairs)  # those of a ranking come after
    places = list(zip(pairs.first[kept].tolist(), pairs.second[kept].tolist(), strict=True))
    columns: dict[str, Any] = {
        "texts": pa.array([[pairs.texts[i], pairs.texts[j]] for i, j in places], pa.list_(pa.string())),
        "indices": pa.array([[pairs.ids[i], pairs.ids[j]] for i, j in places], pa.list_(pa.int64())),
        "domains": pa.array([[pairs.domains[i], pairs.domains[j]] for i, j in places], pa.list_(pa.string())),
        "method": pa.array([questions.method if questions.pairwise else "grades"] * len(places)),
    }
    weights = questions.weights if questions.pairwise else None
    for index, name in enumerate(criteria):
        if weights is not None:
            matrices = preferences.pair_matrices(weights[kept, index])
        else:
            matrices = preferences.grade_matrices(preference[kept, index])
        for kind, matrix in matrices.items():
            columns[f"{name}_{kind}"] = pa.array(matrix.tolist(), pa.list_(pa.list_(pa.float64())))
    write_table(output / "judgments.parquet", pa.table(columns))
    if not questions.pairwise:
        graded: dict[str, Any] = {"index": pairs.ids, "domain": pairs.domains, "text": pairs.texts}
        graded["method"] = [questions.method] * len(pairs.ids)
        for index, name in enumerate(criteria):
            grades = [row[~np.isnan(row)].astype(int).tolist() for row in questions.grades[:, index]]
            graded[f"{name}_grades"] = pa.array(grades, pa.list_(pa.int64()))
            graded[f"{name}_average"] = pa.array([float(np.mean(g)) if g else None for g in grades], pa.float64())
        write_table(output / "grades.parquet", pa.table(graded))
    if questions.failures:
        names = list(criteria)
        lines = []
        for position, answer in sorted(questions.failures.items()):
            unit, criterion, *rest = questions.place(position)
            ids = [pairs.ids[i] for i in ((pairs.first[unit], pairs.second[unit]) if questions.pairwise else (unit,))]
            entry = {"indices": ids, "criterion": names[criterion], "reason": answer.reason, "detail": answer.detail}
            lines.append(json.dumps(entry | ({"order": rest[0]} if questions.pairwise else {})) + "\n")
        (output / "failures.jsonl").write_text("".join(lines), encoding="utf-8")
