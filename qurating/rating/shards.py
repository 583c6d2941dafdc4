"""Shards of ratings beside those of a corpus: what each was made of, and whether that is still so.

A shard of ratings keeps in its Parquet metadata which network made it, and the size and SHA-256 of the corpus' shard.
"""

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
from tqdm import tqdm

from qurating.artifacts.files import read_json, row_files, sha256
from qurating.runtime.errors import StageError
from qurating.runtime.shares import Share

KEY = b"qurating"


def by_shards(
    *,
    output: Path,
    corpus: Path,
    rate: Callable[[Sequence[Path], tqdm], None],
    network: str,
    share: Share | None,
    doing: str,
    criteria: list[str],
) -> dict[str, Any] | None:
    """Have the shards of a corpus rated that are not yet, or not as they are now: of this share, or all.

    A shard that was made by another network, or of a shard of the corpus that was changed since, is made anew.

    Args:
        rate: writes the shard of ratings for each of some shards, and tells the progress bar of each row.
        criteria: what the ratings are of.

    Returns:
        counts: sequences and tokens of the corpus, criteria; None while shards of other shares are missing.

    Raises:
        StageError: a shard that belongs to no shard of the corpus.
    """
    files, folder = row_files(corpus / "train"), output / "train"
    todo = unfinished(files, folder, network)
    own = [file for file in (files if share is None else share.of(files)) if file.name in todo]
    for file in own:
        if todo[file.name] != "missing":
            tqdm.write(f"    {folder / file.name} is rated anew: {todo[file.name]}")
    if own:
        num_rows = sum(pq.read_metadata(file).num_rows for file in own)
        with tqdm(total=num_rows, desc=doing, unit="sequence", mininterval=0.5) as progress:
            rate(own, progress)
        todo = unfinished(files, folder, network)
    if todo:
        done = f"{len(files) - len(todo)} of {len(files)}"
        print(f"    {done} shards of the corpus are rated; the others are for other tasks", flush=True)
        return None
    lengths = (pq.read_table(folder / file.name, columns=["length"])["length"].to_numpy() for file in files)
    sums = np.array([(len(part), part.sum()) for part in lengths]).sum(axis=0)
    return {"sequences": int(sums[0]), "tokens": int(sums[1]), "criteria": criteria}


def made_of(corpus_file: Path, network: str) -> dict[str, Any]:
    """What a shard of ratings is made of, to be kept with it; `network` is its fingerprint."""
    return {"network": network, "bytes": corpus_file.stat().st_size, "sha256": sha256(corpus_file)}


def fingerprint_of(model: Path) -> str:
    """Which network lies in a folder: the fingerprint of its artifact, or a hash of its settings and weights."""
    if (model / "manifest.json").is_file():
        return str(read_json(model / "manifest.json")["fingerprint"])
    files = sorted(file for pattern in ("*.json", "*.safetensors", "*.bin", "*.model") for file in model.glob(pattern))
    return json.dumps({file.name: sha256(file)[:16] for file in files})


def staleness(corpus_file: Path, ratings_file: Path, network: str | None) -> str | None:
    """Why a shard of ratings is not of this shard of the corpus, or of another network; None if it is.

    The corpus' shard is read only where it was written after the ratings; ratings that do not say what they are made
    of pass. With `network` None it is not looked at which made them.
    """
    found = pq.read_metadata(ratings_file)
    if found.num_rows != (there := pq.read_metadata(corpus_file).num_rows):
        return f"it has {found.num_rows:,} rows, and {corpus_file} has {there:,}"
    made = json.loads((found.metadata or {}).get(KEY, b"{}"))
    if not made:
        return None
    if network is not None and made["network"] != network:
        return "it was made by another network"
    stat = corpus_file.stat()
    is_newer = stat.st_mtime_ns > ratings_file.stat().st_mtime_ns
    if stat.st_size != made["bytes"] or (is_newer and sha256(corpus_file) != made["sha256"]):
        return f"{corpus_file} was changed after it was rated"
    return None


def check_fresh(corpus: Path, ratings: Path) -> None:
    """Refuse ratings that do not stand shard for shard beside a corpus, or whose corpus was changed since.

    Raises:
        StageError: with the first shard that is missing, too many or stale, and how many are.
    """
    files = row_files(corpus / "train")
    missing, extra, stale = _compared(files, ratings / "train", None)
    problems = [
        *(f"{ratings / 'train' / name} is missing" for name in missing),
        *(f"{ratings / 'train' / name} belongs to no shard of {corpus}" for name in extra),
        *(f"{ratings / 'train' / name} is stale: {reason}" for name, reason in stale.items()),
    ]
    if problems:
        more = f" (and {len(problems) - 1:,} more)" if len(problems) > 1 else ""
        raise StageError(
            f"these are not the ratings of the corpus as it is: {problems[0]}{more}. Name the ratings "
            f"of this corpus, or restore its shard; or, if it is meant to be so, delete {ratings} and rate it again: "
            "stage=[rate] (or score)"
        )


def unfinished(files: Sequence[Path], folder: Path, network: str) -> dict[str, str]:
    """The shards among `files` of a corpus that have no ratings of this network in `folder`, each with the reason.

    Raises:
        StageError: `folder` has a shard that the corpus has not.
    """
    missing, extra, stale = _compared(files, folder, network)
    if extra:
        raise StageError(f"{folder / extra[0]} belongs to no shard of the corpus ({len(extra)} such): delete it")
    return dict.fromkeys(missing, "missing") | stale


def _compared(files: Sequence[Path], folder: Path, network: str | None) -> tuple[list[str], list[str], dict[str, str]]:
    """Names of shards that are missing, that are too many, and that are stale with the reason."""
    expected, found = {file.name: file for file in files}, {file.name: file for file in folder.glob("*.parquet")}
    stale = {
        name: reason
        for name in sorted(expected.keys() & found.keys())
        if (reason := staleness(expected[name], found[name], network))
    }
    return sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys()), stale
