"""Learnability-quality scores, from gradients to a table."""

from qurating.lqs.per_sample_gradients import norms_and_dots

__all__ = ["norms_and_dots"]
