"""A selection from plain arrays."""

from typing import Any

from qurating.selection.rows import Arrays
from qurating.selection.rules import select


def chosen(scores: Any, lengths: Any, num_tokens: int, *, seed: int = 0, **settings: Any) -> list[int]:
    about = {key: settings.pop(key) for key in ("domains", "ids", "chunk_size") if key in settings}
    return select(Arrays(scores, lengths, **about), num_tokens=num_tokens, seed=seed, **settings).indices().tolist()
