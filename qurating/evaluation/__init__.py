"""The loss of a language model on held-out text, and the comparison of cells."""
