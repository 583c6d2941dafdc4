"""One call of an endpoint: it waits for the rate limiter and the cap on costs, is retried, and is accounted for."""

import asyncio
import contextlib
import dataclasses
import json
import time
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson

from qurating.judging.endpoint import replies
from qurating.judging.endpoint.base import Endpoint, NoReplyError, Reply, Request
from qurating.judging.endpoint.costs import CapReachedError, Spending, completion_limit, prompt_limit
from qurating.judging.endpoint.rate_limiter import RateLimiter, retry_after
from qurating.judging.endpoint.refusals import Kind, Refusal
from qurating.judging.endpoint.replies import AnswerError
from qurating.judging.endpoint.response_log import ResponseLog
from qurating.judging.endpoint.retries import EndpointHealth, Retries
from qurating.judging.endpoint.transport import Sender

Used = tuple[int | None, int | None]  # tokens of prompt and completion; None: the endpoint does not report them


@dataclass
class Calls:
    """The calls of one run. Any number may be made at once: `rate_limiter` and `spending` hold them back."""

    endpoint: Endpoint
    sender: Sender
    response_log: ResponseLog  # for calls whose reply is lost; the caller logs the answers
    spending: Spending
    rate_limiter: RateLimiter
    health: EndpointHealth
    traffic: Counter[str] = field(default_factory=Counter)  # calls besides the answers: lost replies, retries
    stopped_by: BaseException | None = None
    _num_reserved: int = 0
    _settled: asyncio.Event = field(default_factory=asyncio.Event)

    def stop(self, error: BaseException) -> None:
        """Start no more calls: waiting ones raise the error, calls in flight are completed."""
        self.stopped_by = self.stopped_by or error
        self.rate_limiter.release_all()

    async def reply(self, request: Request, max_retries: int | None = None) -> tuple[Any, Used]:
        """The decoded reply to one request, after retries, and its tokens of prompt and completion.

        `max_retries`: fewer than the endpoint's.

        Raises AnswerError if the reply is unusable, UnansweredError if all retries failed, StageError if every request
        would fail like this, CapReachedError.
        """
        most = self.endpoint.max_retries if max_retries is None else min(max_retries, self.endpoint.max_retries)
        retries = Retries(dataclasses.replace(self.endpoint, max_retries=most) if max_retries else self.endpoint)
        while True:
            try:
                reply, content, refusal, used, entered = await self._send(request)
            except NoReplyError as error:
                seconds = retries.no_reply(error, time.monotonic())
                self.traffic["retries after a time-out" if error.timed_out else "retries without a reply"] += 1
                await asyncio.sleep(seconds)
                continue
            if refusal is None or refusal.kind is not Kind.WAIT:
                break
            if stop := self.endpoint.too_long_a_wait(refusal, retry_after(reply.headers) or 0.0):
                raise stop
            seconds = retries.refused(refusal, time.monotonic())
            self.traffic[f"retries after {refusal.reason}"] += 1
            if refusal.is_throttling:
                self.rate_limiter.refused(entered, reply.headers, seconds)  # all calls wait, including this one
            else:
                await asyncio.sleep(seconds)
        self.health.answered(time.monotonic())
        if refusal is not None:
            raise self.endpoint.error_for(refusal)
        self.rate_limiter.answered(reply.headers)
        if content is None:
            raise AnswerError("the reply is not JSON", self.endpoint.redacted(reply.content.decode(errors="replace")))
        return content, used

    async def _send(self, request: Request) -> tuple[Reply, Any, Refusal | None, Used, float]:
        """Send once, when the rate limiter and the cap allow it; the cost is added even if the reply is lost.

        Returns the reply, its decoded content, the refusal in it, its tokens, and when it was sent.

        Raises NoReplyError.
        """
        usd = self.spending.max_usd(request.body)
        entered = await self._enter(usd)
        try:
            reply = await self.sender.send(request)
            content = _decoded(reply.content)
            text = "" if content else reply.content.decode(errors="replace")
            if 300 <= reply.status < 400:
                content, text = None, f"redirects to {reply.headers.get('location', 'nowhere')}"
            refusal = self.endpoint.refusal(reply.status, content, text)
            return reply, content, refusal, self._account(request.body, content, is_answer=refusal is None), entered
        except NoReplyError as error:
            self.traffic["lost replies"] += error.lost
            if error.lost and self.spending.price is not None:
                lost = prompt_limit(request.body), completion_limit(request.body) or 0
                self.spending.add(*lost)
                self.response_log.add_lost(*lost)
            raise
        finally:
            self._leave(usd)

    async def _enter(self, usd: float) -> float:
        """Wait for a place in flight, and for room for `usd` under the cap; returns the time."""
        while True:
            entered = await self.rate_limiter.enter()
            if self.stopped_by is None and self.spending.reserve(usd):
                self._num_reserved += 1
                return entered
            self.rate_limiter.leave()
            if self.stopped_by is not None:
                raise self.stopped_by
            if not self._num_reserved:
                raise CapReachedError(
                    f"judge.max_cost_usd={self.spending.max_cost_usd:g} is reached: ${self.spending.usd:,.4f} is "
                    f"spent, and the next call can cost ${usd:,.4f}.\n  Answers so far are kept: the same command with "
                    "a higher judge.max_cost_usd continues"
                )
            await self._settled.wait()

    def _leave(self, usd: float) -> None:
        self._num_reserved -= 1
        self.spending.release(usd)
        self.rate_limiter.leave()
        self._settled.set()  # wakes calls that wait for room under the cap
        self._settled.clear()

    def _account(self, body: Mapping[str, Any], content: Any, is_answer: bool) -> Used:
        """Add the tokens of a reply to the spending; returns them."""
        used = replies.usage(content)
        if used is None and is_answer and self.spending.price is not None:
            used = prompt_limit(body), completion_limit(body) or 0  # not reported: the upper bound counts
        if used is None:
            return None, None
        self.spending.add(*used)
        if (limit := self.spending.exceeded_limit(body, used[1])) is not None:
            self.stop(
                self.endpoint.stop_error(
                    f"was allowed {limit:,} tokens for an answer and bills {used[1]:,}, so that judge.max_cost_usd="
                    f"{self.spending.max_cost_usd:g} cannot be kept. It may know the limit by its other name "
                    "(judge.token_limit) or not count the thought in it: raise judge.max_thinking_tokens, or remove "
                    "the cap with judge.max_cost_usd=null"
                )
            )
        return used


def _decoded(content: bytes) -> Any:
    """Decode JSON, also with NaN or lone surrogates, which are not quite JSON; None for anything else."""
    try:
        return orjson.loads(content)
    except ValueError:
        with contextlib.suppress(ValueError):
            return json.loads(content)
    return None
