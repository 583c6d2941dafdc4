"""A stage's work shared among the tasks of a sweep over its `shard`, and the processes of each."""

import contextlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import OmegaConf

from qurating.artifacts.lineage import SHARED
from qurating.runtime.errors import StageError
from qurating.runtime.shares import Share


def share_of(stage: str, settings: Mapping[str, Any], sweep: Path, process: int, num_processes: int) -> Share | None:
    """This process' share of a stage; None if the stage cannot be shared, or is not.

    Args:
        settings: of the stage; with `shard` None the processes alone share it, with `num_shards` None there are as many
            as the sweep has values of `shard`.
        sweep: folder of the sweep.
        process, num_processes: of a distributed run.

    Raises:
        StageError: a shard beyond their number, or whose number is not known.
    """
    if stage not in SHARED:
        return None
    shard, count, key = settings["shard"], settings["num_shards"], f"stages.{stage}.num_shards"
    if shard is None:
        if count is not None:
            raise StageError(f"{key}={count} needs a shard: sweep it, -m 'stages.{stage}.shard=range({count})'")
        return Share(process, num_processes) if num_processes > 1 else None
    count = count or _swept(sweep, f"stages.{stage}.shard")
    if count is None:
        raise StageError(f"stages.{stage}.shard={shard} of how many? Say so with {key}, or sweep it")
    if not (isinstance(shard, int) and isinstance(count, int) and 0 <= shard < count):
        raise StageError(
            f"stages.{stage}.shard={shard} of {count}: shards count from 0; where a sweep has some of them only, say "
            f"how many there are in all with {key}"
        )
    return Share(shard * num_processes + process, count * num_processes)


def _swept(sweep: Path, key: str) -> int | None:
    """How many values a sweep gives to a key; None if it does not sweep it."""
    with contextlib.suppress(FileNotFoundError):
        overrides = OmegaConf.load(sweep / "multirun.yaml").hydra.overrides.task
        for override in OverridesParser.create().parse_overrides(list(overrides)):
            if override.key_or_group == key and override.is_sweep_override():
                return sum(1 for _ in override.sweep_iterator())
    return None
