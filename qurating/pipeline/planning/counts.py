"""Numbers about an artifact that later stages depend on: tokens, sequences, parameters."""

from collections.abc import Mapping


class UnknownError(Exception):
    """A number cannot be told before the run; the message says why."""


class Counts(dict[str, float]):
    """Numbers by name; `unknown` says why others are missing."""

    def __init__(self, numbers: Mapping[str, float], unknown: str = "") -> None:
        super().__init__(numbers)
        self.unknown = unknown

    def need(self, name: str) -> float:
        """A number; raises UnknownError if it cannot be told."""
        if name not in self:
            raise UnknownError(self.unknown or f"its number of {name} is not known")
        return self[name]
