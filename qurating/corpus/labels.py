"""The labels of tokens, for training a language model."""

NO_TARGET = -100  # the label of a token that is not learned; transformers and torch ignore it
