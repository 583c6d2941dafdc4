"""Requests through a Batch API: upload input files, poll, fetch answers; half the price, but it takes hours.

A batch carries its digest as metadata. If a kill left it without an id in `batch_log`, it is found again in the list of
batches at the endpoint. Answers go to the response log, as with the online transport.
"""

import asyncio
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from qurating.judging.endpoint import replies
from qurating.judging.endpoint.base import Endpoint, Request, UncertainStopError
from qurating.judging.endpoint.batch_api import BatchApi
from qurating.judging.endpoint.batch_files import Limits, packed, responses
from qurating.judging.endpoint.batch_log import BatchLog
from qurating.judging.endpoint.calls import Used
from qurating.judging.endpoint.costs import CapReachedError, Spending, completion_limit, prompt_limit
from qurating.judging.endpoint.failures import FailureLimits, FailureStreak
from qurating.judging.endpoint.refusals import Kind
from qurating.judging.endpoint.replies import AnswerError
from qurating.judging.endpoint.response_log import Answer, Parse, ResponseLog
from qurating.runtime.errors import StageError

ENDED = ("completed", "failed", "expired", "cancelled")
MIN_ROUND = 0.05  # share of the cap, at the highest possible cost: a smaller partial round is not worth hours
MAX_ROUNDS = 4  # batches in which a request may stay without an answer before it counts as failed


class Batches:
    """The requests of one run, sent in batches."""

    def __init__(
        self,
        endpoint: Endpoint,
        response_log: ResponseLog,
        spending: Spending,
        batch_log: BatchLog,
        limits: Limits,
        say: Callable[[str], None],
        failure_limits: FailureLimits | None = None,
    ) -> None:
        self._endpoint, self._response_log, self._spending = endpoint, response_log, spending
        self._batch_log, self._limits, self._say = batch_log, limits, say
        self._streak = FailureStreak(endpoint, failure_limits or FailureLimits())
        self._api = BatchApi(endpoint)
        self._words: dict[str, str] = {}  # of the last refusal of a request, if it is to be sent again
        self._most: dict[str, Used] = {}  # tokens of a request at most, if the endpoint does not report them
        self._requests: Callable[[], Iterable[Request]] = tuple
        self._parse: Parse = list
        self._too_large = ""  # why a batch was refused because the account's queue is full

    async def ask_all(
        self,
        requests: Callable[[], Iterable[Request]],
        parse: Parse,
        record: Callable[[int, Answer], None],
    ) -> None:
        """Send every request without an answer in the response log, until each is answered or has failed for good.

        Then call `record(position, answer)` exactly once per request. Raises StageError if the endpoint takes no
        batches or refuses access, or if the cap leaves no room for the next batch. Submitted batches then continue at
        the endpoint, and the next run fetches them.
        """
        self._requests, self._parse = requests, parse
        async with self._api:
            await self._rounds()
        for request in requests():
            key = request.key()
            answer = self._response_log.use(key, parse)
            if answer is None:
                answer = Answer(None, f"no answer in {MAX_ROUNDS} batches", self._words.get(key, ""))
                self._response_log.add(key, answer)
            record(request.position, answer)

    async def _rounds(self) -> None:
        """Submit batches of the missing requests and fetch them, until none is missing or MAX_ROUNDS is reached."""
        await self._find_lost()
        await self._fetch_all()
        number = 0
        while number < MAX_ROUNDS and next(self._missing(), None) is not None:
            before = len(self._response_log)
            all_submitted = await self._submit(self._missing(), number)
            await self._fetch_all()
            fruitless = len(self._response_log) == before
            if fruitless and self._too_large:
                raise self._endpoint.stop_error(
                    f"has no room for a batch ({self._too_large}): lower judge.max_batch_requests"
                )
            number += all_submitted or fruitless

    def _missing(self) -> Iterator[Request]:
        return (request for request in self._requests() if self._response_log.get(request.key(), self._parse) is None)

    async def _submit(self, requests: Iterator[Request], number: int) -> bool:
        """Submit batches of these requests until the cap allows no more; returns whether all are submitted.

        A request is admitted only if it fits under the cap at its highest possible cost, one token per byte. Text
        takes about a quarter of that, so a round leaves money over for the next one.

        Raises CapReachedError if the cap has no room for a round that is worth hours of waiting.
        """
        spending = self._spending
        reserved: list[float] = []

        def admit(request: Request) -> bool:
            usd = spending.max_usd(request.body)
            if allowed := spending.reserve(usd):
                reserved.append(usd)
            return allowed

        submitted = False
        try:
            for lines, stopped in packed(requests, self._limits, admit):
                worth_it = lines and sum(reserved) >= MIN_ROUND * (spending.max_cost_usd or 0.0)
                if stopped and not submitted and not worth_it:
                    raise CapReachedError(
                        f"judge.max_cost_usd={spending.max_cost_usd:g} has no room for another batch: "
                        f"${spending.usd:,.4f} is spent.\n  Answers so far are kept: "
                        "the same command with a higher judge.max_cost_usd continues"
                    )
                if lines:
                    await self._create(lines, number)
                    submitted = True
                if stopped:
                    return False
        finally:
            # these batches are fetched, and their true cost is known, before the next round is submitted
            for usd in reserved:
                spending.release(usd)
        return True

    async def _create(self, lines: list[str], number: int) -> None:
        content = "".join(f"{line}\n" for line in lines).encode()
        digest = self._batch_log.digest("".join(json.loads(line)["custom_id"] for line in lines), number)
        self._batch_log.note(digest, num_requests=len(lines))
        name = await self._api.create(content, digest)
        self._batch_log.note(digest, id=name)
        self._say(f"batch {name}: {len(lines):,} requests, {len(content):,} bytes")

    async def _find_lost(self) -> None:
        """Find the ids of batches that a kill left without one; a batch that was never created is marked as done."""
        if lost := self._batch_log.unidentified():
            listed = await self._api.listed()
            for digest in lost:
                found = {"id": listed[digest]} if digest in listed else {"done": "never made"}
                self._batch_log.note(digest, **found)

    async def _fetch_all(self) -> None:
        """Wait for every submitted batch and log its answers; requests without an answer stay missing."""
        while waiting := self._batch_log.under_way():
            num_fetched, stop = 0, None
            for digest, name in waiting:
                batch = await self._api.retrieve(name)
                if batch.status not in ENDED:
                    continue
                for file in filter(None, (batch.output_file_id, batch.error_file_id)):
                    stop = await self._fetch(file) or stop
                if batch.status == "failed" and not (batch.output_file_id or batch.error_file_id):
                    self._failed(batch, digest)
                self._batch_log.note(digest, done=batch.status)
                num_fetched += 1
            if stop is not None:
                raise stop
            if num_fetched < len(waiting):
                await asyncio.sleep(self._limits.poll_seconds)

    def _failed(self, batch: Any, digest: str) -> None:
        """Handle a batch that was refused as a whole: retried in the next round if the account's queue is full."""
        errors = (batch.errors.data if batch.errors else None) or []
        said = "; ".join(f"{error.code}: {error.message}" for error in errors) or "no reason given"
        reasons = self._endpoint.redacted(said)
        if not any("limit" in (error.code or "") for error in errors):
            self._batch_log.note(digest, done="failed")
            raise self._endpoint.stop_error(f"refuses the batch {batch.id} ({reasons})")
        self._too_large = reasons[:160]
        self._say(f"batch {batch.id} was refused ({reasons[:160]}): its requests are sent again")

    async def _fetch(self, file_id: str) -> StageError | None:
        """Log the results in an output or error file: answers, and failures that a retry would not mend.

        Returns the error that ends the run if too many requests in a row have failed.
        """
        stop: StageError | None = None
        for key, status, body in responses(await self._api.content(file_id)):
            if self._response_log.get(key, self._parse) is not None:
                continue
            refusal = self._endpoint.refusal(status or 500, body)
            if refusal is None:
                answer = self._answer(key, body)
            elif refusal.kind is Kind.WAIT:
                self._words[key] = str(refusal)
                continue
            else:
                error = self._endpoint.error_for(refusal)
                if isinstance(error, UncertainStopError) and self._response_log.num_usable:
                    error = error.instead
                if isinstance(error, StageError):  # the others of this file are read first: they are paid for
                    stop = error
                    continue
                answer = Answer(None, error.reason, error.detail)
            self._response_log.add(key, answer, body)
            if answer.values is not None:
                self._streak.usable()
            else:
                stop = self._streak.failed(answer) or stop
        if stop is not None:
            self._response_log.forget_failures()
        return stop

    def _answer(self, key: str, body: Any) -> Answer:
        """The answer in a reply; its tokens are added to the spending: the most that they can be, if not reported."""
        used: Used = replies.usage(body) or (None, None)
        if used[0] is None and self._spending.price is not None:
            used = self._most_tokens(key)
        self._spending.add(used[0] or 0, used[1] or 0)
        try:
            return Answer(self._parse(body), "", "", *used, batch=True)
        except AnswerError as error:
            return Answer(None, error.reason, error.detail, *used, batch=True)

    def _most_tokens(self, key: str) -> Used:
        if not self._most:
            missing = self._missing()
            self._most = {r.key(): (prompt_limit(r.body), completion_limit(r.body) or 0) for r in missing}
        return self._most.get(key, (None, None))
