"""From a subset to a table."""
