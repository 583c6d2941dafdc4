"""qurating: choose what a language model is pre-trained on, and compare the choices."""

__version__ = "0.1.0"
