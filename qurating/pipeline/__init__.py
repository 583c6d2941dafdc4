"""From a command line to artifacts."""
