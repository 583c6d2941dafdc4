"""One call of an endpoint: let out by its pace and the cap on costs, tried again where that may help, accounted for."""

import asyncio
import contextlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from qurating.judging.endpoint import replies
from qurating.judging.endpoint.base import Endpoint, NoReplyError, Reply, asks_for_patience, may_pass
from qurating.judging.endpoint.costs import CapReachedError, Spending, completion_limit, prompt_limit
from qurating.judging.endpoint.rate_limiter import Pace
from qurating.judging.endpoint.replies import AnswerError
from qurating.judging.endpoint.response_log import Journal, Request
from qurating.judging.endpoint.retries import EndpointHealth, Tries
from qurating.judging.endpoint.transport import Sender

Used = tuple[int | None, int | None]  # tokens of prompt and completion, where the endpoint says so


@dataclass
class Calls:
    """The calls of one run. Any number may wait for their replies at once: `pace` and `spending` hold them back."""

    endpoint: Endpoint
    sender: Sender
    journal: Journal  # of calls whose reply is lost; answers are written by those who ask
    spending: Spending
    pace: Pace
    health: EndpointHealth
    stopped_by: BaseException | None = None
    _num_reserved: int = 0
    _settled: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self, error: BaseException) -> None:
        """Begin nothing more: whoever waits to be let out gets the error. What is in flight comes in."""
        self.stopped_by = self.stopped_by or error
        self.pace.open()

    async def reply(self, request: Request) -> tuple[Any, Used]:
        """The decoded reply to one request, after the retries it takes; and the tokens of prompt and completion.

        Raises AnswerError for a reply that is none, UnansweredError, StageError where all requests would fare alike,
        CapReachedError.
        """
        tries = Tries(self.endpoint)
        while True:
            try:
                reply, content, used, entered = await self._send(request)
            except NoReplyError as error:
                await asyncio.sleep(tries.no_reply(error, time.monotonic()))
                continue
            if not may_pass(reply.status):
                break
            seconds = tries.refused(reply, time.monotonic())
            if asks_for_patience(reply.status):
                self.pace.refused(entered, reply.headers, seconds)  # all wait, this one too
            else:
                await asyncio.sleep(seconds)
        self.health.answered(time.monotonic())
        if reply.status >= 300:
            raise self.endpoint.refused(reply)
        self.pace.answered(reply.headers)
        if content is None:
            raise AnswerError("the reply is not JSON", self.endpoint.redacted(reply.content.decode(errors="replace")))
        return content, used

    async def _send(self, request: Request) -> tuple[Reply, Any, Used, float]:
        """Send once, when there is room and money; returns the reply, its content decoded, its tokens, and when it was
        let out. What it took is added to the spending, also if the reply is lost (NoReplyError).
        """
        most = self.spending.most(request.body)
        entered = await self._enter(most)
        try:
            reply = await self.sender.send(request)
            content = _decoded(reply.content)
            return reply, content, self._account(request.body, reply.status, content), entered
        except NoReplyError as error:
            if error.lost and self.spending.price is not None:
                lost = prompt_limit(request.body), completion_limit(request.body) or 0
                self.spending.add(*lost)
                self.journal.add_lost(*lost)
            raise
        finally:
            self._leave(most)

    async def _enter(self, most: float) -> float:
        """Wait for a place in flight, and for `most` US dollars for it."""
        while True:
            entered = await self.pace.enter()
            if self.stopped_by is None and self.spending.reserve(most):
                self._num_reserved += 1
                return entered
            self.pace.leave()
            if self.stopped_by is not None:
                raise self.stopped_by
            if not self._num_reserved:
                raise CapReachedError(
                    f"judge.max_cost_usd={self.spending.max_cost_usd:g} is reached: ${self.spending.usd:,.4f} is "
                    f"spent, and the next call can cost ${most:,.4f}.\n  What is answered is kept: the same command "
                    "with a higher judge.max_cost_usd goes on from there"
                )
            await self._settled.wait()

    def _leave(self, most: float) -> None:
        self._num_reserved -= 1
        self.spending.release(most)
        self.pace.leave()
        self._settled.set()  # wakes those that wait for money
        self._settled.clear()

    def _account(self, body: Mapping[str, Any], status: int, content: Any) -> Used:
        """Add what a reply took to the spending; returns its tokens."""
        used = replies.usage(content)
        if used is None and status < 300 and self.spending.price is not None:
            used = prompt_limit(body), completion_limit(body) or 0  # it does not say: the most that it can be
        if used is None:
            return None, None
        self.spending.add(*used)
        return used


def _decoded(content: bytes) -> Any:
    """Of JSON, also what is not quite JSON: NaN, half a character; None for anything else."""
    try:
        return orjson.loads(content)
    except ValueError:
        with contextlib.suppress(ValueError):
            return json.loads(content)
    return None
