"""Asking through a Batch API: files of requests, uploaded, polled, fetched; at half the price and in hours.

A batch carries its digest as metadata: one that a kill has left without an id in `batch_log` is found again among the
endpoint's. Answers go into the journal, as from any other way to ask.
"""

import asyncio
import io
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import openai

from qurating.judging.endpoint import replies, transport
from qurating.judging.endpoint.base import Endpoint, Reply, may_pass
from qurating.judging.endpoint.batch_files import Limits, packed, responses
from qurating.judging.endpoint.batch_log import BatchLog
from qurating.judging.endpoint.costs import CapReachedError, Spending
from qurating.judging.endpoint.replies import AnswerError
from qurating.judging.endpoint.response_log import Answer, Journal, Request

MARK = "qurating"  # the metadata's key
UNDER_WAY = ("validating", "in_progress", "finalizing", "cancelling")
LEAST_ROUND = 0.05  # of the cap, at its requests' dearest: a cut round that is smaller is not waited for
MAX_ROUNDS = 4  # in how many batches a request may fail without an answer before it is given up


class Batches:
    """The requests of one run by batches."""

    def __init__(
        self,
        endpoint: Endpoint,
        journal: Journal,
        spending: Spending,
        log: BatchLog,
        limits: Limits,
        say: Callable[[str], None],
    ) -> None:
        self._endpoint, self._journal, self._spending = endpoint, journal, spending
        self._log, self._limits, self._say = log, limits, say
        self._client = transport.openai_client(endpoint)
        self._too_large = ""  # why a batch was refused, where the account's queue is full

    async def ask_all(
        self,
        requests: Callable[[], Iterable[Request]],
        parse: Callable[[Any], list[float]],
        record: Callable[[int, Answer], None],
    ) -> None:
        """Ask what the journal does not answer, until every request has an answer or has failed for good.

        Then `record(position, answer)` each exactly once. Raises StageError if the endpoint takes no batches, refuses
        access, or a cap leaves no room for the next batch; batches under way then go on at the endpoint, and the next
        run fetches them.
        """
        place = self._endpoint
        try:
            async with self._client:
                await self._rounds(requests, parse)
        except openai.APIStatusError as error:
            reply = Reply(error.status_code, {}, error.response.content)
            found = place.refused(reply)
            raise found if not isinstance(found, AnswerError) else place.stopped(f"refuses batches ({found})") from None
        except openai.APIConnectionError as error:
            raise place.stopped(f"does not answer ({error.__cause__ or error})") from None
        for request in requests():
            key = request.key()
            answer = self._journal.get(key)
            if answer is None:
                answer = Answer(None, f"no answer in {MAX_ROUNDS} batches")
                self._journal.add(key, answer)
            record(request.position, answer)

    async def _rounds(self, requests: Callable[[], Iterable[Request]], parse: Callable[[Any], list[float]]) -> None:
        """Make batches of what is missing, and fetch them, until nothing is or a request has had its tries."""
        await self._find_lost()
        await self._fetch_all(parse)
        number = 0
        while number < MAX_ROUNDS and next(self._missing(requests()), None) is not None:
            before = len(self._journal)
            all_out = await self._submit(self._missing(requests()), number)
            await self._fetch_all(parse)
            fruitless = len(self._journal) == before
            if fruitless and self._too_large:
                raise self._endpoint.stopped(
                    f"has no room for a batch ({self._too_large}): lower judge.max_batch_requests"
                )
            number += all_out or fruitless

    def _missing(self, requests: Iterable[Request]) -> Iterator[Request]:
        return (request for request in requests if self._journal.get(request.key()) is None)

    async def _submit(self, requests: Iterator[Request], number: int) -> bool:
        """Make batches of these until they are all out or the cap allows no more; returns whether all are out.

        A request is let out only if the cap has room for it at its dearest, a token a byte. Text takes about a quarter
        of that, so that a round leaves money over, and the next goes on with it.

        Raises CapReachedError if the cap has no room for a round that is worth its hours.
        """
        spending = self._spending
        reserved: list[float] = []

        def let_out(request: Request) -> bool:
            most = spending.most(request.body)
            if allowed := spending.reserve(most):
                reserved.append(most)
            return allowed

        made = False
        try:
            for lines, stopped in packed(requests, self._limits, let_out):
                worth_it = lines and sum(reserved) >= LEAST_ROUND * (spending.max_cost_usd or 0.0)
                if stopped and not made and not worth_it:
                    raise CapReachedError(
                        f"judge.max_cost_usd={spending.max_cost_usd:g} has no room for another batch: "
                        f"${spending.usd:,.4f} is spent.\n  What is answered is kept: "
                        "the same command with a higher judge.max_cost_usd goes on from there"
                    )
                if lines:
                    await self._create(lines, number)
                    made = True
                if stopped:
                    return False
        finally:
            # what is out is fetched, and its true cost known, before the next of them is made
            for most in reserved:
                spending.release(most)
        return True

    async def _create(self, lines: list[str], number: int) -> None:
        content = "".join(f"{line}\n" for line in lines).encode()
        digest = self._log.digest("".join(json.loads(line)["custom_id"] for line in lines), number)
        self._log.note(digest, num_requests=len(lines))
        file = await self._client.files.create(file=(f"{MARK}-{digest}.jsonl", io.BytesIO(content)), purpose="batch")
        batch = await self._client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={MARK: digest}
        )
        self._log.note(digest, id=batch.id)
        self._say(f"batch {batch.id}: {len(lines):,} requests, {len(content):,} bytes")

    async def _find_lost(self) -> None:
        """The ids of batches that a kill has left without one; what was never made is forgotten."""
        lost = self._log.unidentified()
        if not lost:
            return
        async for batch in self._client.batches.list(limit=100):
            digest = (batch.metadata or {}).get(MARK)
            if digest in lost:
                lost.discard(digest)
                self._log.note(digest, id=batch.id)
        for digest in lost:
            self._log.note(digest, done="never made")

    async def _fetch_all(self, parse: Callable[[Any], list[float]]) -> None:
        """Wait for every batch under way, and journal its answers; those without an answer are then missing still."""
        while waiting := self._log.under_way():
            num_fetched = 0
            for digest, name in waiting:
                batch = await self._client.batches.retrieve(name)
                if batch.status in UNDER_WAY:
                    continue
                for file in filter(None, (batch.output_file_id, batch.error_file_id)):
                    await self._fetch(file, parse)
                if batch.status == "failed" and not (batch.output_file_id or batch.error_file_id):
                    self._failed(batch, digest)
                self._log.note(digest, done=batch.status)
                num_fetched += 1
            if num_fetched < len(waiting):
                await asyncio.sleep(self._limits.poll_seconds)

    def _failed(self, batch: Any, digest: str) -> None:
        """A batch that was refused as a whole. Where the account's queue is full, the next round tries again."""
        errors = (batch.errors.data if batch.errors else None) or []
        said = "; ".join(f"{error.code}: {error.message}" for error in errors) or "no reason given"
        if not any("limit" in (error.code or "") for error in errors):
            self._log.note(digest, done="failed")
            raise self._endpoint.stopped(f"refuses the batch {batch.id} ({said[:300]})")
        self._too_large = said[:160]
        self._say(f"batch {batch.id} was refused ({said[:160]}): its requests are sent again")

    async def _fetch(self, file_id: str, parse: Callable[[Any], list[float]]) -> None:
        """Journal the answers of an output or error file: an answer, or a failure that another try would not mend."""
        content = (await self._client.files.content(file_id)).content
        for key, status, body in responses(content):
            if self._journal.get(key) is not None:
                continue
            if status == 200:
                used: tuple[int | None, int | None] = replies.usage(body) or (None, None)
                try:
                    answer = Answer(parse(body), "", "", *used, batch=True)
                except AnswerError as error:
                    answer = Answer(None, error.reason, error.detail, *used, batch=True)
                self._spending.add(used[0] or 0, used[1] or 0)
            elif status is not None and 400 <= status < 500 and not may_pass(status):
                refused = self._endpoint.refused(Reply(status, {}, json.dumps(body).encode()))
                if not isinstance(refused, AnswerError):
                    raise refused
                answer = Answer(None, refused.reason, refused.detail)
            else:
                continue
            self._journal.add(key, answer)
