"""The part of some work that one of several tasks does."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True)
class Share:
    """Part `index` of `count`."""

    index: int
    count: int

    def of(self, items: Sequence[Item]) -> list[Item]:
        """Every `count`-th item, from item `index` on."""
        return list(items[self.index :: self.count])


def share_or_all(shard: int | None, num_shards: int | None) -> Share | None:
    """The share that two settings of a stage give; None, which means everything, if either is None."""
    return None if shard is None or num_shards is None else Share(shard, num_shards)
