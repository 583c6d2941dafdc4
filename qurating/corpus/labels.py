"""The labels of tokens that a language model learns."""

NO_TARGET = -100  # in a label's place: the token is not learned. It is what transformers and torch pass over
