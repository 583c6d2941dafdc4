"""Learnability-quality scores: from per-sample gradients to a table of scores."""

from qurating.lqs.per_sample_gradients import norms_and_dots

__all__ = ["norms_and_dots"]
