"""Which requests are sent again, after how long, and what stops a run. Decisions only: nothing here waits or sends.

A request that fails is retried up to `max_retries` times (`Retries`). If that does not help, it is sent once more at
the end of the run. A run stops when continuing is pointless: access refused or unknown model (`Endpoint.error_for`),
endpoint down (`EndpointHealth`), too many unusable answers (`failures`).
Times are seconds of the monotonic clock.
"""

import math
import random
from dataclasses import dataclass, field
from enum import Enum

from qurating.judging.endpoint.base import Endpoint, NoReplyError
from qurating.judging.endpoint.refusals import Refusal
from qurating.judging.endpoint.response_log import Answer
from qurating.runtime.errors import StageError

MAX_UNANSWERED_IN_A_ROW = 8  # retried requests without a reply, after which the endpoint counts as down
MAX_BACKOFF_SECONDS = 8.0


class UnansweredError(Exception):
    """No usable reply to a request, after all its retries.

    `refusal`: the last reply, None without a reply. `own_fault`: the request itself may be the cause. `lost_since`:
    when its connection first broke, if it broke in every try since then; else None.
    """

    def __init__(
        self, message: str, *, refusal: Refusal | None = None, own_fault: bool, lost_since: float | None = None
    ) -> None:
        super().__init__(message)
        self.refusal, self.own_fault, self.lost_since = refusal, own_fault, lost_since

    @property
    def answer(self) -> Answer:
        """The answer that records this request as failed."""
        return Answer(None, self.refusal.reason, self.refusal.words) if self.refusal else Answer(None, str(self))


@dataclass
class Retries:
    """The failures of one request so far, and whether it is retried."""

    endpoint: Endpoint
    _failures: int = 0
    _refused_since: float | None = None
    _lost_since: float | None = None

    def no_reply(self, error: NoReplyError, now: float) -> float:
        """Seconds to wait before the next try; raises UnansweredError after the last one."""
        if not error.lost:
            self._lost_since = None
        elif self._lost_since is None:
            self._lost_since = now
        if self._failures >= self.endpoint.max_retries:
            raise UnansweredError(str(error), own_fault=error.timed_out, lost_since=self._lost_since)
        return self._next()

    def refused(self, refusal: Refusal, now: float) -> float:
        """The same for a refusal to wait out. Those that ask for fewer requests are retried for `patience_seconds`."""
        patient = False
        if refusal.is_throttling:
            self._refused_since = now if self._refused_since is None else self._refused_since
            patient = now - self._refused_since < self.endpoint.patience_seconds
        if self._failures >= self.endpoint.max_retries and not patient:
            raise UnansweredError(str(refusal), refusal=refusal, own_fault=refusal.status == 500)
        return self._next()

    def _next(self) -> float:
        self._failures += 1
        return backoff(self._failures)


def backoff(num_failures: int) -> float:
    """Seconds before the next try: doubled each time from 0.5, times a random factor from 0.75 to 1."""
    return min(MAX_BACKOFF_SECONDS, 0.5 * 2.0 ** min(num_failures - 1, 8)) * random.uniform(0.75, 1.0)


class Next(Enum):
    """What happens to a request that was not answered after all its retries."""

    AT_THE_END = "sent again when all others are done"
    NOW = "sent again now: no others remain"
    FAILED = "recorded as failed"


@dataclass
class EndpointHealth:
    """Whether an endpoint is up, judged by the requests of a run."""

    endpoint: Endpoint
    _last_answer: float = -math.inf
    _unanswered_in_a_row: int = 0
    _lost_since: dict[int, float] = field(default_factory=dict)  # by position, of deferred requests

    def answered(self, now: float) -> None:
        """Note an answer, usable or not."""
        self._last_answer, self._unanswered_in_a_row = now, 0

    def unanswered(self, position: int, error: UnansweredError, at_the_end: bool, now: float) -> Next:
        """What happens to the request at `position`; raises StageError if the endpoint is down.

        A request counts as failed if it may be the cause itself, or if its connection broke before and after another
        request was answered. This is decided only at the end, when every other request has been sent.
        """
        self._unanswered_in_a_row += 1
        if at_the_end and (error.own_fault or self._breaks_connections(position, error)):
            self._unanswered_in_a_row = 0
            return Next.FAILED
        silent = now - self._last_answer > self.endpoint.patience_seconds
        enough = min(MAX_UNANSWERED_IN_A_ROW, self.endpoint.max_concurrency)
        if silent and (at_the_end or self._unanswered_in_a_row >= enough):
            raise down_error(self.endpoint, error) from None
        if at_the_end:
            return Next.NOW
        if error.lost_since is not None:
            self._lost_since[position] = error.lost_since
        return Next.AT_THE_END

    def _breaks_connections(self, position: int, error: UnansweredError) -> bool:
        return error.lost_since is not None and self._last_answer > self._lost_since.get(position, math.inf)

    def seconds_between(self) -> float:
        """Wait between two attempts at a request when no others remain."""
        return min(MAX_BACKOFF_SECONDS, self.endpoint.patience_seconds / 8)


def down_error(endpoint: Endpoint, error: UnansweredError) -> StageError:
    """The error for an endpoint that does not answer."""
    if error.refusal and error.refusal.status == 429:
        advice = "wait, or lower judge.max_concurrency"
        return endpoint.stop_error(f"refuses for now ({error}, too many requests): {advice}")
    return endpoint.stop_error(f"does not answer ({error}): check that it runs and is reachable from here")
