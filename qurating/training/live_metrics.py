"""Lightning's way to a tracker while a training runs."""

from collections.abc import Callable, Mapping
from typing import Any

from pytorch_lightning.loggers.logger import Logger


class LiveMetrics(Logger):
    """A Lightning logger that hands metrics on.

    Args:
        send: gets the metrics and their step, counted from 0.
    """

    def __init__(self, send: Callable[[Mapping[str, float], int], None]) -> None:
        super().__init__()
        self._send = send

    @property
    def name(self) -> str:
        return "tracker"

    @property
    def version(self) -> int:
        return 0

    def log_metrics(self, metrics: dict[str, float], step: int | None = None) -> None:
        self._send(metrics, step or 0)

    def log_hyperparams(self, *_: Any, **__: Any) -> None:
        """Nothing: the run has the whole config."""
