"""Figures of the analyses of a rated corpus, each from its tidy table."""
