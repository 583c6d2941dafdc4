"""Pure maths: preferences, ranks, accuracy, perplexity."""
