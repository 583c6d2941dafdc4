"""Pure maths: losses, ranks, accuracy, perplexity."""
