"""From gradients to scores."""
