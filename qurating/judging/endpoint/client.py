"""Asking an OpenAI-compatible endpoint many questions at once, so that no answer is lost or paid for twice.

Every answer goes into an append-only journal as it comes. A rerun reads the journal and asks only what is missing.
"""

import asyncio
import contextlib
import json
import math
import os
import random
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import openai
import orjson

from qurating.judging import preferences
from qurating.judging.endpoint import transport
from qurating.judging.endpoint.costs import Spending, completion_limit, prompt_limit
from qurating.judging.endpoint.rate_limiter import Pace
from qurating.judging.endpoint.response_log import Answer, Journal, Request
from qurating.judging.endpoint.transport import NoReplyError, Reply
from qurating.judging.preferences import AnswerError
from qurating.runtime.errors import StageError

MAX_UNANSWERED_IN_A_ROW = 8  # requests without any reply, each already repeated, after which an endpoint counts as down
MAX_UNUSABLE_AT_FIRST = 20  # unusable answers before the first usable one, after which a setting must be wrong
STOP_AT_ONCE = {401, 403, 404, 405}  # what is wrong with one request is then wrong with all
MAX_BACKOFF_SECONDS = 8.0


class Endpoint(NamedTuple):
    """Where and how to ask. `api_key_variable` names an environment variable; null for an endpoint without keys."""

    base_url: str
    model: str
    api_key_variable: str | None
    max_concurrency: int
    timeout_seconds: float
    max_retries: int  # of one request, after errors of the server or the connection
    patience_seconds: float = (
        0.0  # how long refusals (HTTP 429), or an endpoint that has answered before, are waited for
    )
    loopback: bool = False  # on this machine: never by a proxy
    api: str = "openai"  # or azure
    api_version: str | None = None  # of azure

    def api_key(self) -> str:
        """The key; raises StageError, naming the variable, if it is not set."""
        if self.api_key_variable is None:
            return "none"
        key = os.environ.get(self.api_key_variable, "").strip()
        if not key:
            raise StageError(
                f"the environment variable {self.api_key_variable}, which should hold the key for {self.base_url}, is "
                f"not set: export {self.api_key_variable}=..., or name another with judge.api_key_variable"
            )
        return key

    def redacted(self, text: str) -> str:
        """The start of what an endpoint said, without the key that it may quote."""
        return text.replace(self.api_key(), "***")[:160] if self.api_key_variable else text[:160]

    def stopped(self, what: str) -> StageError:
        return StageError(
            f"the judge at {self.base_url} {what}.\n"
            "  What is answered is kept: run the same command again to go on from there"
        )

    def refused(self, reply: Reply) -> Exception:
        """What a status of 300 or more means: StageError where all requests would fare alike, else AnswerError."""
        status, said, code = reply.status, self.redacted(error_of(reply.content)[0]), error_of(reply.content)[1]
        if status in (401, 403):  # the reply may quote the key: it is not shown
            variable = self.api_key_variable
            way_out = f"check the key in {variable}" if variable else "set judge.api_key_variable to the key's variable"
            return self.stopped(f"refuses access (HTTP {status}): {way_out}")
        if status in STOP_AT_ONCE or 300 <= status < 400:
            return self.stopped(
                f"knows no such path or model (HTTP {status}: {said}): check judge.base_url, which mostly ends in /v1, "
                f"and judge.model={self.model}"
            )
        if "insufficient_quota" in code:
            return self.stopped(f"says that the account's quota is used up (HTTP {status})")
        return AnswerError(f"HTTP {status}", said)


class CapReachedError(StageError):
    """The next call could cost more than is left of `max_cost_usd`."""


class UnansweredError(Exception):
    """No usable reply, after all retries; `settled` if the fault may be the request's own.

    `lost_since`: when its connection first broke (monotonic seconds), if that is what befell it to the last.
    """

    def __init__(self, message: str, settled: bool, lost_since: float | None = None) -> None:
        super().__init__(message)
        self.settled, self.lost_since = settled, lost_since


def error_of(content: bytes) -> tuple[str, str]:
    """Message and code of an error as the API writes it; else the text itself, and no code."""
    with contextlib.suppress(ValueError, AttributeError):
        error = json.loads(content)["error"] if b'"error"' in content else {}
        if isinstance(error, str):
            return error, ""
        if error:
            return str(error.get("message") or error), str(error.get("code") or error.get("type") or "")
    return content.decode(errors="replace"), ""


@dataclass
class Asking:
    """One run of questions to an endpoint: see `opened`."""

    endpoint: Endpoint
    client: openai.AsyncOpenAI
    sender: transport.Sender
    journal: Journal
    spending: Spending
    pace: Pace
    _usable_seen: bool = False
    _unproven: list[tuple[Request, Answer]] = field(default_factory=list)  # unusable, before any usable answer
    _unanswered: list[Request] = field(default_factory=list)
    _lost_since: dict[int, float] = field(default_factory=dict)  # of those, by position
    _unanswered_in_a_row: int = 0
    _last_reply: float = -1e9
    _stopped_by: BaseException | None = None
    _num_reserved: int = 0
    _settled: asyncio.Event = field(default_factory=asyncio.Event)

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

        for last_chance in (False, True):
            left = missing() if not last_chance else iter(self._unanswered)
            workers = [
                asyncio.create_task(self._work(left, parse, record, last_chance))
                for _ in range(self.endpoint.max_concurrency)
            ]
            try:
                await asyncio.wait(workers)
            except BaseException as error:  # an interruption, most likely
                self._stop(error)
                await asyncio.wait(workers, timeout=self.endpoint.timeout_seconds)
                raise
            if self._stopped_by:
                raise self._stopped_by
        if self._unproven:
            raise self._nothing_usable()

    async def _work(
        self,
        requests: Iterator[Request],
        parse: Callable[[Any], list[float]],
        record: Callable[[int, Answer], None],
        last_chance: bool,
    ) -> None:
        """Ask what the shared iterator gives until it is empty, or something stops the run."""
        try:
            while not self._stopped_by and (request := next(requests, None)) is not None:
                while not await self._one(request, parse, record, last_chance):
                    await asyncio.sleep(min(MAX_BACKOFF_SECONDS, self.endpoint.patience_seconds / 8))
        except Exception as error:
            self._stop(error)

    def _stop(self, error: BaseException) -> None:
        """Begin nothing more; what is in flight comes in."""
        self._stopped_by = self._stopped_by or error
        self.pace.open()

    async def _one(
        self,
        request: Request,
        parse: Callable[[Any], list[float]],
        record: Callable[[int, Answer], None],
        last_chance: bool,
    ) -> bool:
        """Ask one; False if it has to be asked once more, now that nothing comes after it."""
        used: tuple[int | None, int | None] = (None, None)
        try:
            reply, used = await self.reply(request)
            values = parse(reply)
        except AnswerError as error:
            self._unanswered_in_a_row = 0
            self._unusable(request, Answer(None, error.reason, error.detail, *used), record)
        except UnansweredError as error:
            self._unanswered_in_a_row += 1
            if last_chance and (error.settled or self._breaks(request, error)):
                self._unanswered_in_a_row = 0
                self._unusable(request, Answer(None, str(error)), record)
                return True
            gone = time.monotonic() - self._last_reply > self.endpoint.patience_seconds
            if gone and self._unanswered_in_a_row >= min(MAX_UNANSWERED_IN_A_ROW, self.endpoint.max_concurrency):
                raise self.down(error) from None
            if not last_chance:
                self._unanswered.append(request)
                if error.lost_since is not None:
                    self._lost_since[request.position] = error.lost_since
            elif gone:
                raise self.down(error) from None
            else:
                return False
        else:
            self._unanswered_in_a_row, self._usable_seen = 0, True
            while self._unproven:
                self._keep(*self._unproven.pop(0), record)
            self._keep(request, Answer(values, "", "", *used), record)
        return True

    def _breaks(self, request: Request, error: UnansweredError) -> bool:
        """Whether it is this request that breaks connections: also after others were answered meanwhile."""
        return error.lost_since is not None and self._last_reply > self._lost_since.get(request.position, math.inf)

    async def reply(self, request: Request) -> tuple[Any, tuple[int | None, int | None]]:
        """The decoded reply to one request, after the retries it takes; and the tokens of prompt and completion.

        Raises AnswerError for a reply that is none, StageError where all requests would fare alike.
        """
        body, most = request.body, self.spending.most(request.body)
        failures, refused_since, lost_since = 0, None, None
        while True:
            entered, error = await self._enter(most), None
            try:
                reply = await self.sender.send(request)
                content, used = self._account(body, reply)
            except NoReplyError as caught:
                error = caught
                if caught.lost and self.spending.price is not None:
                    lost = prompt_limit(body), completion_limit(body) or 0
                    self.spending.add(*lost)
                    self.journal.add_lost(*lost)
            finally:
                self._leave(most)
            if error is not None:
                failures += 1
                lost_since = (lost_since or time.monotonic()) if error.lost else None
                if failures > self.endpoint.max_retries:
                    raise UnansweredError(str(error), error.timed_out, lost_since) from None
            elif reply.status < 300:
                self._last_reply = time.monotonic()
                self.pace.answered(reply.headers)
                if content is None:
                    raise AnswerError(
                        "the reply is not JSON", self.endpoint.redacted(reply.content.decode(errors="replace"))
                    )
                return content, used
            elif reply.status in (408, 409, 429) or reply.status >= 500:
                if isinstance(stop := self.endpoint.refused(reply), StageError):
                    raise stop
                refusal = reply.status in (429, 503)
                refused_since = refused_since or time.monotonic()
                waited = time.monotonic() - refused_since
                if failures >= self.endpoint.max_retries and not (refusal and waited < self.endpoint.patience_seconds):
                    raise UnansweredError(f"HTTP {reply.status}", settled=reply.status == 500)
                failures += 1
                if refusal:
                    self.pace.refused(entered, reply.headers, _backoff(failures))
                    continue
            else:
                raise self.endpoint.refused(reply)
            await asyncio.sleep(_backoff(failures))

    async def _enter(self, most: float) -> float:
        """Wait for a place in flight, and for `most` US dollars for it."""
        while True:
            entered = await self.pace.enter()
            if self._stopped_by is None and self.spending.reserve(most):
                self._num_reserved += 1
                return entered
            self.pace.leave()
            if self._stopped_by is not None:
                raise self._stopped_by
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

    def _account(self, body: Mapping[str, Any], reply: Reply) -> tuple[Any, tuple[int | None, int | None]]:
        """The decoded content, None if it is not JSON, and its tokens; what it took is added to the spending."""
        content: Any = None
        try:
            content = orjson.loads(reply.content)
        except ValueError:
            with contextlib.suppress(ValueError):  # what is not quite JSON: NaN, half a character
                content = json.loads(reply.content)
        used = preferences.usage(content)
        if used is None and reply.status < 300 and self.spending.price is not None:
            used = prompt_limit(body), completion_limit(body) or 0  # it does not say: the most that it can be
        if used is None:
            return content, (None, None)
        self.spending.add(*used)
        return content, used

    def _unusable(self, request: Request, answer: Answer, record: Callable[[int, Answer], None]) -> None:
        """Keep a failure; but while nothing has worked at all, hold it back, for a setting may be what is wrong."""
        if self._usable_seen:
            return self._keep(request, answer, record)
        self._unproven.append((request, answer))
        if len(self._unproven) >= MAX_UNUSABLE_AT_FIRST:
            raise self._nothing_usable()

    def _nothing_usable(self) -> StageError:
        answer = self._unproven[0][1]
        said = f"{answer.reason}: {answer.detail}" if answer.detail else answer.reason
        return self.endpoint.stopped(
            f"gave no usable answer to any of the first {len(self._unproven)} requests ({said}): check judge.model, "
            "judge.method, judge.request_options and judge.prompt"
        )

    def _keep(self, request: Request, answer: Answer, record: Callable[[int, Answer], None]) -> None:
        self.journal.add(request.key(), answer)
        record(request.position, answer)

    def down(self, error: Exception) -> StageError:
        if "429" in str(error):
            said = f"refuses for now ({error}, too many requests): wait, or lower judge.max_concurrency"
        else:
            said = f"does not answer ({error}): see that it runs and can be reached from here"
        return self.endpoint.stopped(said)


def _backoff(failures: int) -> float:
    """Seconds to wait after the n-th failure: doubling from half a second, with a quarter left to chance."""
    return min(MAX_BACKOFF_SECONDS, 0.5 * 2 ** (failures - 1)) * random.uniform(0.75, 1.0)


@contextlib.asynccontextmanager
async def opened(endpoint: Endpoint, journal: Journal, spending: Spending) -> AsyncIterator[Asking]:
    """Connect to an endpoint; raises StageError if its key is not set, or its address is none."""
    async with contextlib.AsyncExitStack() as stack:
        client = await stack.enter_async_context(transport.client(endpoint))
        try:
            sender = await stack.enter_async_context(transport.opened(endpoint, client))
        except ValueError as error:
            raise StageError(f"judge.base_url: {error}") from None
        pace = Pace(endpoint.max_concurrency)
        yield Asking(endpoint, client, sender, journal, spending, pace, _usable_seen=journal.num_usable > 0)
