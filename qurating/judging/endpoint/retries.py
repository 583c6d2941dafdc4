"""What is asked again, after how long a wait, and what stops a run. Only decisions: nothing here waits or sends.

A request that fails is tried again by itself, up to `max_retries` times (`Tries`). If that does not help, it is left
for the end of the run and asked once more. A run stops where going on is no use: access refused or no such model
(`Endpoint.refused`), an endpoint that is down (`EndpointHealth`), nothing but unusable answers (`nothing_usable`).
Times are seconds of the monotonic clock.
"""

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum

from qurating.judging.endpoint.base import Endpoint, NoReplyError, Reply, asks_for_patience
from qurating.judging.endpoint.response_log import Answer
from qurating.runtime.errors import StageError

MAX_UNANSWERED_IN_A_ROW = 8  # requests without any reply, each already repeated, after which an endpoint counts as down
MAX_UNUSABLE_AT_FIRST = 20  # unusable answers before the first usable one, after which a setting must be wrong
MAX_BACKOFF_SECONDS = 8.0


class UnansweredError(Exception):
    """No usable reply to a request, after all its retries.

    `status`: of the last reply, None if none came. `own_fault`: the request itself may be the reason. `lost_since`:
    when its connection first broke, if that is how it failed to the last.
    """

    def __init__(
        self, message: str, *, status: int | None = None, own_fault: bool, lost_since: float | None = None
    ) -> None:
        super().__init__(message)
        self.status, self.own_fault, self.lost_since = status, own_fault, lost_since


@dataclass
class Tries:
    """How one request has fared so far, and whether it is tried again."""

    endpoint: Endpoint
    _failures: int = 0
    _refused_since: float | None = None
    _lost_since: float | None = None

    def no_reply(self, error: NoReplyError, now: float) -> float:
        """Seconds to wait before the next try; raises UnansweredError if there is none."""
        if not error.lost:
            self._lost_since = None
        elif self._lost_since is None:
            self._lost_since = now
        if self._failures >= self.endpoint.max_retries:
            raise UnansweredError(str(error), own_fault=error.timed_out, lost_since=self._lost_since)
        return self._next()

    def refused(self, reply: Reply, now: float) -> float:
        """The same for a reply whose status may pass. Refusals are waited out for `patience_seconds`, whatever their
        number. Raises StageError if the account's quota is used up.
        """
        if isinstance(stop := self.endpoint.refused(reply), StageError):
            raise stop
        patient = False
        if asks_for_patience(reply.status):
            self._refused_since = now if self._refused_since is None else self._refused_since
            patient = now - self._refused_since < self.endpoint.patience_seconds
        if self._failures >= self.endpoint.max_retries and not patient:
            raise UnansweredError(f"HTTP {reply.status}", status=reply.status, own_fault=reply.status == 500)
        return self._next()

    def _next(self) -> float:
        """Doubling from half a second, with a quarter left to chance."""
        self._failures += 1
        return min(MAX_BACKOFF_SECONDS, 0.5 * 2.0 ** min(self._failures - 1, 8)) * random.uniform(0.75, 1.0)


class Next(Enum):
    """What becomes of a request that was not answered after all its retries."""

    AT_THE_END = "asked again when all others are done"
    NOW = "asked again now: nothing else is left"
    FAILED = "recorded as failed"


@dataclass
class EndpointHealth:
    """Whether an endpoint is still there, by how the requests of a run fare."""

    endpoint: Endpoint
    _last_answer: float = -math.inf
    _unanswered_in_a_row: int = 0
    _lost_since: dict[int, float] = field(default_factory=dict)  # by position, of requests left for the end

    def answered(self, now: float) -> None:
        """An answer has come, of use or not."""
        self._last_answer, self._unanswered_in_a_row = now, 0

    def unanswered(self, position: int, error: UnansweredError, at_the_end: bool, now: float) -> Next:
        """What becomes of the request at `position`; raises StageError if the endpoint is down.

        A request is to blame if it may be the reason, or broke its connection before and after others were answered;
        that is recorded only at the end, when every other request was asked.
        """
        self._unanswered_in_a_row += 1
        if at_the_end and (error.own_fault or self._breaks_connections(position, error)):
            self._unanswered_in_a_row = 0
            return Next.FAILED
        gone = now - self._last_answer > self.endpoint.patience_seconds
        few = min(MAX_UNANSWERED_IN_A_ROW, self.endpoint.max_concurrency)
        if gone and (at_the_end or self._unanswered_in_a_row >= few):
            raise down(self.endpoint, error) from None
        if at_the_end:
            return Next.NOW
        if error.lost_since is not None:
            self._lost_since[position] = error.lost_since
        return Next.AT_THE_END

    def _breaks_connections(self, position: int, error: UnansweredError) -> bool:
        return error.lost_since is not None and self._last_answer > self._lost_since.get(position, math.inf)

    def seconds_between(self) -> float:
        """To wait between two attempts at a request when nothing else is left."""
        return min(MAX_BACKOFF_SECONDS, self.endpoint.patience_seconds / 8)


def down(endpoint: Endpoint, error: UnansweredError) -> StageError:
    """The error of an endpoint that gives no answers at all."""
    if error.status == 429:
        said = f"refuses for now ({error}, too many requests): wait, or lower judge.max_concurrency"
    else:
        said = f"does not answer ({error}): see that it runs and can be reached from here"
    return endpoint.stopped(said)


def nothing_usable(endpoint: Endpoint, answers: Sequence[Answer]) -> StageError:
    """The error of an endpoint that gave only these answers, none of them of use."""
    first = answers[0]
    said = f"{first.reason}: {first.detail}" if first.detail else first.reason
    return endpoint.stopped(
        f"gave no usable answer to any of the first {len(answers)} requests ({said}): check judge.model, "
        "judge.method, judge.request_options and judge.prompt"
    )
