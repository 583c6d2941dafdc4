"""Ratings of a corpus by a network or by a function of the text, shard by shard."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from qurating.rating.engine import Engine

__all__ = ["Engine"]


def __getattr__(name: str) -> Any:
    """Import `Engine` on demand: selecting checks here for stale shards, and works without torch."""
    if name != "Engine":
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from qurating.rating.engine import Engine

    return Engine
