"""Documents, tokens, sequences, target sets."""
