"""?"""

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
        """Every `count`-th item."""
        return list(items[self.index :: self.count])
