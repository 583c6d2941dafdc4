"""A corpus through a network or a formula, shard by shard."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qurating.rating.engine import Engine

__all__ = ["Engine"]


def __getattr__(name: str) -> Any:
    """`Engine` on demand: selecting asks this room which shards are stale, and does without torch."""
    if name != "Engine":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from qurating.rating.engine import Engine

    return Engine
