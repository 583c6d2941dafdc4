"""Our own judge servers, each in a separate process."""
