"""From a command to artifacts."""
