"""Shards of ratings, one for each shard of a corpus: their provenance, and whether they are stale.

The Parquet metadata of a shard of ratings has the fingerprint of its network, and the size and SHA-256 of the corpus
shard.
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


def rate_unfinished_shards(
    *,
    output: Path,
    corpus: Path,
    rate: Callable[[Sequence[Path], tqdm], None],
    network: str,
    share: Share | None,
    description: str,
    criteria: list[str],
) -> dict[str, Any] | None:
    """Rate the shards of a corpus that have no ratings or stale ones: those of this share, or all.

    Ratings are stale if another network made them, or if the corpus shard was changed since.

    Args:
        rate: writes a shard of ratings for each of the given shards, and updates the progress bar for each row.
        network: fingerprint of the network or function that rates.
        share: the shards to rate here; None: all.
        description: text of the progress bar.
        criteria: names of the ratings.

    Returns:
        counts: sequences and tokens of the corpus, criteria; None while shards of other shares are missing.

    Raises:
        StageError: a shard of ratings belongs to no shard of the corpus.
    """
    files, folder = row_files(corpus / "train"), output / "train"
    todo = unfinished(files, folder, network)
    own = [file for file in (files if share is None else share.of(files)) if file.name in todo]
    for file in own:
        if todo[file.name] != "missing":
            tqdm.write(f"    {folder / file.name} is rated again: {todo[file.name]}")
    if own:
        num_rows = sum(pq.read_metadata(file).num_rows for file in own)
        with tqdm(total=num_rows, desc=description, unit="sequence", mininterval=0.5) as progress:
            rate(own, progress)
        todo = unfinished(files, folder, network)
    if todo:
        done = f"{len(files) - len(todo)} of {len(files)}"
        print(f"    {done} shards of the corpus are rated; other tasks rate the rest", flush=True)
        return None
    lengths = (pq.read_table(folder / file.name, columns=["length"])["length"].to_numpy() for file in files)
    sums = np.array([(len(part), part.sum()) for part in lengths]).sum(axis=0)
    return {"sequences": int(sums[0]), "tokens": int(sums[1]), "criteria": criteria}


def provenance_of(corpus_file: Path, network: str) -> dict[str, Any]:
    """The provenance of a shard of ratings, to be stored in it; `network` is a fingerprint."""
    return {"network": network, "bytes": corpus_file.stat().st_size, "sha256": sha256(corpus_file)}


def fingerprint_of(model: Path) -> str:
    """The fingerprint of the network in a folder: that of its artifact, or a hash of its settings and weights."""
    if (model / "manifest.json").is_file():
        return str(read_json(model / "manifest.json")["fingerprint"])
    files = sorted(file for pattern in ("*.json", "*.safetensors", "*.bin", "*.model") for file in model.glob(pattern))
    return json.dumps({file.name: sha256(file)[:16] for file in files})


def staleness(corpus_file: Path, ratings_file: Path, network: str | None) -> str | None:
    """Why a shard of ratings is not of this corpus shard and this network; None if it is.

    The corpus shard is read only if it was written after the ratings. Ratings without provenance pass. With `network`
    None, any network passes.
    """
    found = pq.read_metadata(ratings_file)
    if found.num_rows != (there := pq.read_metadata(corpus_file).num_rows):
        return f"it has {found.num_rows:,} rows, but {corpus_file} has {there:,}"
    provenance = json.loads((found.metadata or {}).get(KEY, b"{}"))
    if not provenance:
        return None
    if network is not None and provenance["network"] != network:
        return "it was made by another network"
    stat = corpus_file.stat()
    is_newer = stat.st_mtime_ns > ratings_file.stat().st_mtime_ns
    if stat.st_size != provenance["bytes"] or (is_newer and sha256(corpus_file) != provenance["sha256"]):
        return f"{corpus_file} was changed after it was rated"
    return None


def check_fresh(corpus: Path, ratings: Path) -> None:
    """Refuse ratings that do not match a corpus shard for shard, or whose corpus was changed since.

    Raises:
        StageError: names the first shard that is missing, extra or stale, and says how many more there are.
    """
    files = row_files(corpus / "train")
    missing, extra, stale = _compare(files, ratings / "train", None)
    problems = [
        *(f"{ratings / 'train' / name} is missing" for name in missing),
        *(f"{ratings / 'train' / name} belongs to no shard of {corpus}" for name in extra),
        *(f"{ratings / 'train' / name} is stale: {reason}" for name, reason in stale.items()),
    ]
    if problems:
        more = f" (and {len(problems) - 1:,} more)" if len(problems) > 1 else ""
        raise StageError(
            f"the ratings do not match the corpus: {problems[0]}{more}. Use the ratings of this corpus, or restore its "
            f"shard; if the change is intended, delete {ratings} and rate the corpus again: stage=[rate] (or score)"
        )


def unfinished(files: Sequence[Path], folder: Path, network: str) -> dict[str, str]:
    """The shards among `files` of a corpus without ratings of this network in `folder`, each with the reason.

    Raises:
        StageError: `folder` has a shard that the corpus does not have.
    """
    missing, extra, stale = _compare(files, folder, network)
    if extra:
        raise StageError(f"{folder / extra[0]} belongs to no shard of the corpus ({len(extra)} such): delete it")
    return dict.fromkeys(missing, "missing") | stale


def _compare(files: Sequence[Path], folder: Path, network: str | None) -> tuple[list[str], list[str], dict[str, str]]:
    """Names of missing shards, of extra shards, and of stale shards with the reason."""
    expected, found = {file.name: file for file in files}, {file.name: file for file in folder.glob("*.parquet")}
    stale = {
        name: reason
        for name in sorted(expected.keys() & found.keys())
        if (reason := staleness(expected[name], found[name], network))
    }
    return sorted(expected.keys() - found.keys()), sorted(found.keys() - expected.keys()), stale
