"""Stages of learnability-quality scores, from the target set to the scored corpus."""
