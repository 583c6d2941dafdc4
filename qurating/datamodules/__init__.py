"""Batches by optimizer step."""
