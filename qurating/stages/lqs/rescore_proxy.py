"""The scores of an annotation with another denominator, from its stored dot products and norms."""

import shutil
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from qurating.artifacts.files import read_json, write_json, write_table
from qurating.lqs.annotation import RESCORED, rescored
from qurating.runtime.errors import StageError


def rescore_proxy(*, output: Path, annotation: Path, denominator: str) -> dict[str, Any]:
    """Write `annotation.parquet` as `annotate_proxy` with this denominator would, and the other files of `annotation`.

    Dot products and norms do not depend on the denominator, so the scores are the same to the bit. A proxy sequence
    that the annotation left out is left out here, too.

    Args:
        annotation: an artifact of `annotate_proxy`.
        denominator: `same_step` or `none`, see `optimal_control.denominator_steps`.

    Returns:
        the counts of the annotation, with the mean and the deviation of these scores.

    Raises:
        StageError: another denominator, whose norms the annotation may not have.
    """
    if denominator not in RESCORED:
        raise StageError(
            f"annotation.denominator={denominator} cannot be computed from {annotation.name}: annotate_proxy divides "
            f"by it itself, and rescore_proxy by {' or '.join(RESCORED)}"
        )
    table = rescored(pq.read_table(annotation / "annotation.parquet"), denominator)
    write_table(output / "annotation.parquet", table)
    for name in ("trajectory.csv", "left_out.jsonl"):
        if (annotation / name).is_file():
            shutil.copyfile(annotation / name, output / name)
    lqs = table["lqs"].to_numpy()
    counts = read_json(annotation / "summary.json") | {"lqs_mean": float(lqs.mean()), "lqs_std": float(lqs.std())}
    write_json(output / "summary.json", counts)
    return counts
