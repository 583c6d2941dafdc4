"""Select and order scored JSON lines, for trainers that read those: as DELT does, without a corpus of ours."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from qurating.artifacts.seeds import seed_for
from qurating.corpus.files import named_files
from qurating.corpus.scored_lines import read_lines, write_lines
from qurating.runtime.errors import StageError
from qurating.selection import ordering, rules
from qurating.selection.rows import Arrays


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
    """Write `lines.jsonl`: the best lines of some files, in an order, each byte for byte as it was.

    Args:
        paths: JSON lines, plain text: paths or patterns; the lines follow one another in the order of the names.
        files: what the files are, to tell others from them.
        score_field: of a line, a number; dotted within another.
        fraction: r of top-r: the ⌊r·N⌋ lines with the highest scores, ties to the earlier line. 1: all.
        inverse: the lowest scores.
        method: sorting, folding or shuffle; None: as they were.
        num_folds: L of folding.
        descending: from the highest score down.

    Raises:
        StageError: no file, or one that is compressed; a line that is no JSON or has no score, named; a fraction
            outside (0, 1] or of no line; a method that there is not.
    """
    if method not in (None, "sorting", "folding", "shuffle"):
        raise StageError(f"there is no method {method!r}; there are sorting, folding, shuffle, and null: as they were")
    found = [file for file, _ in named_files(paths)]
    if packed := [path for path in found if path.suffix in (".gz", ".zst", ".xz", ".bz2")]:
        raise StageError(f"{packed[0]} is compressed, and lines are copied from where they lie: unpack it first")
    lines = read_lines(found, score_field)
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
        raise StageError(f"{found[0]}: {error}") from error
    num_bytes = write_lines(lines, chosen, output / "lines.jsonl")
    return {"lines": len(chosen), "bytes": num_bytes, "lines_read": count, "order_sha256": ordering.digest(chosen)}
