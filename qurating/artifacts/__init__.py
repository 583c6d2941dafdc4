"""Artifacts on disk: their identity, how they are published, and the table of the stages that make them."""
