"""Sharing the work of a stage among the tasks of a sweep over its `shard`, and the processes of each task."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from qurating.artifacts.lineage import SHAREABLE
from qurating.runtime.errors import StageError
from qurating.runtime.shares import Share


def share_of(stage: str, settings: Mapping[str, Any], sweep: Path, process: int, num_processes: int) -> Share | None:
    """The share of this process in a stage; None if the stage cannot be shared, or is not.

    Args:
        settings: of the stage. If `shard` is None, only the processes share the work. If `num_shards` is None, it is
            the number of values of `shard` in the sweep.
        sweep: folder of the sweep.
        process, num_processes: of a distributed run.

    Raises:
        StageError: the shard is out of range, or the number of shards is unknown.
    """
    if stage not in SHAREABLE:
        return None
    shard, count, key = settings["shard"], settings["num_shards"], f"stages.{stage}.num_shards"
    if shard is None:
        if count is not None:
            raise StageError(f"{key}={count} needs a shard: sweep over it, -m 'stages.{stage}.shard=range({count})'")
        return Share(process, num_processes) if num_processes > 1 else None
    count = count or _swept(sweep, f"stages.{stage}.shard")
    if count is None:
        raise StageError(
            f"stages.{stage}.shard={shard}: the number of shards is unknown; set {key}, or sweep over the shard"
        )
    if not (isinstance(shard, int) and isinstance(count, int) and 0 <= shard < count):
        raise StageError(
            f"stages.{stage}.shard={shard} is out of range: {count} shards are numbered from 0; if the sweep has only "
            f"some of the shards, set {key} to the number of all"
        )
    return Share(shard * num_processes + process, count * num_processes)


def _swept(sweep: Path, key: str) -> int | None:
    """The number of values of a key in a sweep; None if it does not sweep over the key."""
    with contextlib.suppress(FileNotFoundError):
        overrides = OmegaConf.load(sweep / "multirun.yaml").hydra.overrides.task
        for override in OverridesParser.create().parse_overrides(list(overrides)):
            if override.key_or_group == key and override.is_sweep_override():
                return sum(1 for _ in override.sweep_iterator())
    return None
