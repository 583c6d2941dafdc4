"""Asking an OpenAI-compatible endpoint many questions at once, so that no answer is lost or paid for twice.

Every answer goes into an append-only journal as it comes. A rerun reads the journal and asks only what is missing.
"""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

from qurating.judging.endpoint import transport
from qurating.judging.endpoint.base import Endpoint
from qurating.judging.endpoint.calls import Calls, Used
from qurating.judging.endpoint.costs import Spending
from qurating.judging.endpoint.rate_limiter import Pace
from qurating.judging.endpoint.replies import AnswerError
from qurating.judging.endpoint.response_log import Answer, Journal, Request
from qurating.judging.endpoint.retries import (
    MAX_UNUSABLE_AT_FIRST,
    EndpointHealth,
    Next,
    UnansweredError,
    nothing_usable,
)
from qurating.runtime.errors import StageError


@dataclass
class Asking:
    """One run of questions to an endpoint: see `opened`."""

    calls: Calls
    journal: Journal
    _usable_seen: bool = False
    _unproven: list[tuple[Request, Answer]] = field(default_factory=list)  # unusable, before any usable answer
    _left_for_the_end: list[Request] = field(default_factory=list)

    async def ask_all(
        self,
        requests: Iterable[Request],
        parse: Callable[[Any], list[float]],
        record: Callable[[int, Answer], None],
    ) -> None:
        """Ask every request that the journal does not answer yet, and `record(position, answer)` each exactly once.

        At most `max_concurrency` requests are in flight, and `requests` is consumed no faster than that. `parse` makes
        numbers of a reply or raises AnswerError, which is recorded as a failure and stops nothing. A request without
        a reply is asked again at the end. Raises StageError where going on is no use: access refused, no such
        model, an endpoint that is down, nothing but unusable answers, a cap that is reached. Whatever ends it, calls
        that are in flight are waited for and journalled first: they are paid for.
        """

        def missing() -> Iterator[Request]:
            for request in requests:
                known = self.journal.get(request.key()) if len(self.journal) else None
                if known:
                    record(request.position, known)
                else:
                    yield request

        for at_the_end in (False, True):
            left = iter(self._left_for_the_end) if at_the_end else missing()
            workers = [
                asyncio.create_task(self._work(left, parse, record, at_the_end))
                for _ in range(self.calls.endpoint.max_concurrency)
            ]
            try:
                await asyncio.wait(workers)
            except BaseException as error:  # an interruption, most likely
                self.calls.stop(error)
                await asyncio.wait(workers, timeout=self.calls.endpoint.timeout_seconds)
                raise
            if self.calls.stopped_by:
                raise self.calls.stopped_by
        if self._unproven:
            raise self._nothing_usable()

    async def _work(
        self,
        requests: Iterator[Request],
        parse: Callable[[Any], list[float]],
        record: Callable[[int, Answer], None],
        at_the_end: bool,
    ) -> None:
        """Ask what the shared iterator gives until it is empty, or something stops the run."""
        try:
            while not self.calls.stopped_by and (request := next(requests, None)) is not None:
                while not await self._one(request, parse, record, at_the_end):
                    await asyncio.sleep(self.calls.health.seconds_between())
        except Exception as error:
            self.calls.stop(error)

    async def _one(
        self,
        request: Request,
        parse: Callable[[Any], list[float]],
        record: Callable[[int, Answer], None],
        at_the_end: bool,
    ) -> bool:
        """Ask one; False if it has to be asked once more, now that nothing comes after it."""
        used: Used = (None, None)
        try:
            reply, used = await self.calls.reply(request)
            answer = Answer(parse(reply), "", "", *used)
        except AnswerError as error:
            self._unusable(request, Answer(None, error.reason, error.detail, *used), record)
        except UnansweredError as error:
            next_step = self.calls.health.unanswered(request.position, error, at_the_end, time.monotonic())
            if next_step is Next.AT_THE_END:
                self._left_for_the_end.append(request)
            elif next_step is Next.FAILED:
                self._unusable(request, Answer(None, str(error)), record)
            return next_step is not Next.NOW
        else:
            self._usable_seen = True
            while self._unproven:
                self._keep(*self._unproven.pop(0), record)
            self._keep(request, answer, record)
        return True

    def _unusable(self, request: Request, answer: Answer, record: Callable[[int, Answer], None]) -> None:
        """Keep a failure; but while nothing has worked at all, hold it back, for a setting may be what is wrong."""
        if self._usable_seen:
            return self._keep(request, answer, record)
        self._unproven.append((request, answer))
        if len(self._unproven) >= MAX_UNUSABLE_AT_FIRST:
            raise self._nothing_usable()

    def _nothing_usable(self) -> StageError:
        return nothing_usable(self.calls.endpoint, [answer for _, answer in self._unproven])

    def _keep(self, request: Request, answer: Answer, record: Callable[[int, Answer], None]) -> None:
        self.journal.add(request.key(), answer)
        record(request.position, answer)


@contextlib.asynccontextmanager
async def opened(endpoint: Endpoint, journal: Journal, spending: Spending) -> AsyncIterator[Asking]:
    """Connect to an endpoint; raises StageError if its key is not set, or its address is none."""
    async with transport.opened(endpoint) as sender:
        calls = Calls(endpoint, sender, journal, spending, Pace(endpoint.max_concurrency), EndpointHealth(endpoint))
        yield Asking(calls, journal, _usable_seen=journal.num_usable > 0)
