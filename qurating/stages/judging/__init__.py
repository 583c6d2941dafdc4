"""From judgments to ratings."""
