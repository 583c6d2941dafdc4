"""Analyses of a rated corpus: plain functions from arrays and artifacts to tidy tables."""
