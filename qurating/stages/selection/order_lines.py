"""Select and order scored JSON lines, as DELT does: for trainers that read JSON lines, without preparing a corpus."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from tqdm import tqdm

from qurating.artifacts.seeds import seed_for
from qurating.corpus.files import named_files
from qurating.corpus.scored_lines import ScoredLines, copy_lines, index_lines, unpacked
from qurating.runtime.errors import StageError
from qurating.selection import ordering, rules
from qurating.selection.rows import Arrays
from qurating.selection.statistics import CONSTANT, is_equal


def order_lines(
    *,
    output: Path,
    paths: str | Sequence[str],
    files: str,
    score_field: str,
    fraction: float,
    inverse: bool,
    method: str | None,
    num_folds: int,
    descending: bool,
    seed: int,
) -> dict[str, Any]:
    """Write `lines.jsonl`: the best lines of some files, in an order, each copied byte for byte.

    Args:
        paths: JSON lines, compressed or not: paths or patterns; the lines follow one another in the order of the names.
            Compressed files are unpacked in `output` for a while.
        files: the files of the paths; other files make another artifact.
        score_field: of a line, a number; dotted if nested.
        fraction: r of top-r: the ⌊r·N⌋ lines with the highest scores, the earlier line first among ties. 1: all.
        inverse: select the lowest scores.
        method: sorting, folding or shuffle; None: the order of the files.
        num_folds: L of folding.
        descending: from the highest score down.

    Raises:
        StageError: no file, or a damaged one; a line that is not JSON or has no score (names the line); a fraction
            outside (0, 1] or one that selects nothing; an unknown method.
    """
    if method not in (None, "sorting", "folding", "shuffle"):
        raise StageError(
            f"unknown method {method!r}: use sorting, folding, shuffle, or null for the order of the files"
        )
    found = [file for file, _ in named_files(paths)]
    with unpacked(found, output / "unpacked") as plain:
        lines = index_lines(plain, score_field)
        chosen = _ordered(lines, found[0], fraction, inverse, method, num_folds, descending, seed)
        num_bytes = copy_lines(lines, chosen, output / "lines.jsonl")
    counts: dict[str, Any] = {"lines": len(chosen), "bytes": num_bytes, "lines_read": len(lines.scores)}
    counts |= {"order_sha256": ordering.digest(chosen)}
    uses_scores = fraction < 1 or method in ("sorting", "folding")
    if len(lines.scores) < 2 or not uses_scores or not is_equal(lines.scores, lines.scores[0]).all():
        return counts
    tqdm.write("    warning: all scores are equal: they choose and order nothing")
    return counts | {"labels": [CONSTANT]}


def _ordered(
    lines: ScoredLines,
    first: Path,
    fraction: float,
    inverse: bool,
    method: str | None,
    num_folds: int,
    descending: bool,
    seed: int,
) -> npt.NDArray[np.int64]:
    """Positions of the selected lines, in their order; `first` is the file that messages name."""
    count = len(lines.scores)
    try:
        rows = Arrays(lines.scores, np.ones(count, np.int64))
        chosen = rules.top_r(rows, fraction=fraction, inverse=inverse, seed=seed).indices()
        scores = lines.scores[chosen]
        if method == "sorting":
            chosen = chosen[ordering.sort(scores, chosen, descending)]
        elif method == "folding":
            chosen = chosen[ordering.fold(scores, num_folds, chosen, descending)]
        elif method == "shuffle":
            chosen = chosen[ordering.shuffle(chosen, seed_for(seed, "order_lines", "shuffle"))]
    except ValueError as error:
        raise StageError(f"{first}: {error}") from error
    return chosen
