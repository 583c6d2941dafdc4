"""The share of a stage that a task works on."""

from pathlib import Path

import pytest

from qurating.pipeline.sharing import share_of
from qurating.runtime.errors import StageError
from qurating.runtime.shares import Share


def test_which_share_is_whose(tmp_path: Path) -> None:
    sweep = tmp_path / "multirun.yaml"
    sweep.write_text("hydra: {overrides: {task: ['stage=[rate]', 'stages.rate.shard=range(64)']}}", encoding="utf-8")
    settings = {"shard": 3, "num_shards": None}
    assert share_of("rate", settings, tmp_path, 0, 1) == Share(3, 64)
    assert share_of("rate", settings, tmp_path, 1, 8) == Share(25, 512)
    assert share_of("rate", {"shard": None, "num_shards": None}, tmp_path, 1, 8) == Share(1, 8)
    assert share_of("rate", {"shard": None, "num_shards": None}, tmp_path, 0, 1) is None
    assert share_of("select", {}, tmp_path, 1, 8) is None
    for shard, count, folder, message in (
        (3, None, tmp_path / "no", "the number of shards is unknown"),
        (64, None, tmp_path, "out of range: 64 shards are numbered from 0"),
        (None, 4, tmp_path, "needs a shard"),
    ):
        with pytest.raises(StageError, match=message):
            share_of("rate", {"shard": shard, "num_shards": count}, folder, 0, 1)
    dealt = [item for index in range(3) for item in Share(index, 3).of(range(10))]
    assert sorted(dealt) == list(range(10))
