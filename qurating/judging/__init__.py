"""Requests to a judge, and what its answers mean."""

from qurating.judging.preferences import pair_preferences

__all__ = ["pair_preferences"]
