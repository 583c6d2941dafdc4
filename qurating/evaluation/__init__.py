"""What a language model loses on held-out text, and cells side by side."""
