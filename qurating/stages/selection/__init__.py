"""From ratings to an ordered subset."""
