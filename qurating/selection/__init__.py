"""Selecting sequences of a corpus, and ordering them."""

from qurating.selection.ordering import fold
from qurating.selection.rows import Arrays
from qurating.selection.rules import mix, pool, select, threshold, top_r

__all__ = ["Arrays", "fold", "mix", "pool", "select", "threshold", "top_r"]
