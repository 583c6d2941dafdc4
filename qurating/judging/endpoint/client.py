"""Many concurrent requests to an OpenAI-compatible endpoint; no answer is lost or paid for twice.

Every answer goes to an append-only response log as it arrives. A rerun reads the log and sends only missing requests.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from qurating.judging.endpoint import transport
from qurating.judging.endpoint.base import Endpoint, Request, UncertainStopError
from qurating.judging.endpoint.calls import Calls, Used
from qurating.judging.endpoint.costs import Spending
from qurating.judging.endpoint.failures import FailureLimits, FailureStreak, nothing_usable_error
from qurating.judging.endpoint.rate_limiter import RateLimiter
from qurating.judging.endpoint.replies import AnswerError
from qurating.judging.endpoint.response_log import Answer, Parse, ResponseLog
from qurating.judging.endpoint.retries import EndpointHealth, Next, UnansweredError
from qurating.runtime.errors import StageError
from qurating.runtime.garbage import rare_collections

KNOWN_AT_ONCE = 256  # answers in the response log that are recorded while nothing else is done


@dataclass
class Client:
    """Sends the requests of one run to an endpoint; `open_client` makes it."""

    calls: Calls
    response_log: ResponseLog
    streak: FailureStreak
    usable_seen: bool = False
    _held_back: list[tuple[Request, Answer]] = field(default_factory=list)  # unusable, until one is usable
    _deferred: list[Request] = field(default_factory=list)  # without a reply: sent again at the end

    async def ask_all(
        self,
        requests: Iterable[Request],
        parse: Parse,
        record: Callable[[int, Answer], None],
    ) -> None:
        """Send every request without an answer in the response log; call `record(position, answer)` once per request.

        At most `max_concurrency` requests are in flight, and `requests` is consumed no faster than that. `parse` turns
        a reply into numbers or raises AnswerError, which is recorded as a failure and stops nothing. A request without
        a reply is sent again at the end. Raises StageError when continuing is pointless: access refused, unknown
        model, endpoint down, too many unusable answers, cap reached. However the run ends, calls in flight are waited
        for and logged first, because they are paid for.
        """

        def missing() -> Iterator[Request | None]:
            num_known = 0
            for request in requests:
                known = self.response_log.use(request.key(), parse) if self.response_log.may_answer() else None
                if known:
                    record(request.position, known)
                    num_known += 1
                    if num_known % KNOWN_AT_ONCE == 0:
                        yield None
                else:
                    yield request

        for at_the_end in (False, True):
            remaining: Iterator[Request | None] = iter(self._deferred) if at_the_end else missing()
            workers = [
                asyncio.create_task(self._work(remaining, parse, record, at_the_end))
                for _ in range(self.calls.endpoint.max_concurrency)
            ]
            try:
                await asyncio.wait(workers)
            except BaseException as error:  # most likely an interruption
                self.calls.stop(error)
                await asyncio.wait(workers, timeout=self.calls.endpoint.timeout_seconds)
                raise
            if self.calls.stopped_by:
                raise self.calls.stopped_by
        if self._held_back:
            raise self._nothing_usable_error()

    async def _work(
        self,
        requests: Iterator[Request | None],
        parse: Parse,
        record: Callable[[int, Answer], None],
        at_the_end: bool,
    ) -> None:
        """Send requests from the shared iterator until it is empty or something stops the run.

        None in it gives way to the calls in flight, whose replies would otherwise be timed out.
        """
        try:
            for request in requests:
                if self.calls.stopped_by:
                    break
                if request is None:
                    await asyncio.sleep(0)
                    continue
                while not await self._send(request, parse, record, at_the_end):
                    await asyncio.sleep(self.calls.health.seconds_between())
        except Exception as error:
            self.calls.stop(error)

    async def _send(
        self,
        request: Request,
        parse: Parse,
        record: Callable[[int, Answer], None],
        at_the_end: bool,
    ) -> bool:
        """Send one request; False if it must be sent again at once, because no other requests remain."""
        used: Used = (None, None)
        try:
            reply, used = await self.calls.reply(request)
            answer = Answer(parse(reply), "", "", *used)
        except AnswerError as error:
            self._unusable(request, Answer(None, error.reason, error.detail, *used), record)
        except UncertainStopError as error:
            if not self.usable_seen:
                raise
            self._unusable(request, Answer(None, error.instead.reason, error.instead.detail), record)
        except UnansweredError as error:
            next_step = self.calls.health.unanswered(request.position, error, at_the_end, time.monotonic())
            if next_step is Next.AT_THE_END:
                self._deferred.append(request)
            elif next_step is Next.FAILED:
                self._unusable(request, error.answer, record)
            return next_step is not Next.NOW
        else:
            self.usable_seen = True
            self.streak.usable()
            while self._held_back:
                self._keep(*self._held_back.pop(0), record)
            self._keep(request, answer, record, reply)
        return True

    def _unusable(self, request: Request, answer: Answer, record: Callable[[int, Answer], None]) -> None:
        """Keep a failure; but hold it back until the first usable answer: a setting may be wrong."""
        if not self.usable_seen:
            self._held_back.append((request, answer))
            if len(self._held_back) >= self.streak.limits.at_first:
                raise self._nothing_usable_error()
            return
        self._keep(request, answer, record)
        if error := self.streak.failed(answer):
            self.response_log.forget_failures()
            raise error

    def _nothing_usable_error(self) -> StageError:
        answers = [answer for _, answer in self._held_back]
        self._held_back.clear()
        for answer in answers:  # asked again by the next run, but paid for
            self.response_log.add_lost(answer.prompt_tokens or 0, answer.completion_tokens or 0)
        return nothing_usable_error(self.calls.endpoint, answers)

    def _keep(self, request: Request, answer: Answer, record: Callable[[int, Answer], None], reply: Any = None) -> None:
        self.response_log.add(request.key(), answer, reply)
        record(request.position, answer)


@contextlib.asynccontextmanager
async def open_client(
    endpoint: Endpoint, response_log: ResponseLog, spending: Spending, limits: FailureLimits | None = None
) -> AsyncIterator[Client]:
    """A client for an endpoint; raises StageError if its key is not set or its address is invalid."""
    async with transport.opened(endpoint) as sender:
        rate_limiter, health = RateLimiter(endpoint.max_concurrency), EndpointHealth(endpoint)
        calls = Calls(endpoint, sender, response_log, spending, rate_limiter, health)
        with rare_collections():
            streak = FailureStreak(endpoint, limits or FailureLimits())
            yield Client(calls, response_log, streak, usable_seen=response_log.num_usable > 0)
