"""Model cards: what stands in the README.md beside a model."""
