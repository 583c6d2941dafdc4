"""Asking through a Batch API: files of requests, uploaded, polled, fetched; at half the price and in hours.

What is under way stands in a file of JSON lines: a batch's digest before it is made, its id after. A kill between the
two leaves a batch that is paid for and not known: it is found again among the endpoint's batches by the digest, which
it carries as metadata. Answers go into the journal, as from any other way to ask.
"""

import asyncio
import contextlib
import hashlib
import io
import json
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

import openai

from qurating.judging import preferences
from qurating.judging.endpoint.client import Asking, CapReachedError
from qurating.judging.endpoint.response_log import Answer, Request
from qurating.judging.endpoint.transport import PATH, Reply
from qurating.judging.preferences import AnswerError

URL = f"/v1{PATH}"
MARK = "qurating"  # the metadata's key
UNDER_WAY = ("validating", "in_progress", "finalizing", "cancelling")
LEAST_ROUND = 0.05  # of the cap, at its requests' dearest: a cut round that is smaller is not waited for
MAX_ROUNDS = 4  # in how many batches a request may fail without an answer before it is given up


class Limits(NamedTuple):
    """Of one input file; `poll_seconds` between two looks at what has become of it."""

    max_requests: int
    max_bytes: int
    poll_seconds: float


class Batches:
    """The requests of one run by batches. `log` is where they are written down."""

    def __init__(self, asking: Asking, log: Path, limits: Limits, say: Callable[[str], None]) -> None:
        self._asking, self._log, self._limits, self._say = asking, log, limits, say
        self._too_large = ""  # why a batch was refused, where the account's queue is full
        self._known: dict[str, dict[str, Any]] = {}  # by digest: {"digest", "id", "round", "done"}
        with contextlib.suppress(FileNotFoundError):
            for line in log.read_bytes().splitlines():
                with contextlib.suppress(ValueError):  # torn
                    entry = json.loads(line)
                    self._known.setdefault(entry["digest"], {}).update(entry)

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
        journal, place = self._asking.journal, self._asking.endpoint
        try:
            await self._find_lost()
            await self._fetch_all(parse)
            number = 0
            while number < MAX_ROUNDS and next(self._missing(requests()), None) is not None:
                before = len(journal)
                all_out = await self._submit(self._missing(requests()), number)
                await self._fetch_all(parse)
                fruitless = len(journal) == before
                if fruitless and self._too_large:
                    raise place.stopped(f"has no room for a batch ({self._too_large}): lower judge.max_batch_requests")
                number += all_out or fruitless
        except openai.APIStatusError as error:
            reply = Reply(error.status_code, {}, error.response.content)
            found = place.refused(reply)
            raise found if not isinstance(found, AnswerError) else place.stopped(f"refuses batches ({found})") from None
        except openai.APIConnectionError as error:
            raise place.stopped(f"does not answer ({error.__cause__ or error})") from None
        for request in requests():
            key = request.key()
            answer = journal.get(key)
            if answer is None:
                answer = Answer(None, f"no answer in {MAX_ROUNDS} batches")
                journal.add(key, answer)
            record(request.position, answer)

    def _missing(self, requests: Iterable[Request]) -> Iterator[Request]:
        return (request for request in requests if self._asking.journal.get(request.key()) is None)

    async def _submit(self, requests: Iterator[Request], number: int) -> bool:
        """Make batches of these until they are all out or the cap allows no more; returns whether all are out.

        A request is let out only if the cap has room for it at its dearest, a token a byte. Text takes about a quarter
        of that, so that a round leaves money over, and the next goes on with it.

        Raises CapReachedError if the cap has no room for a round that is worth its hours.
        """
        made, waiting = 0, next(requests, None)
        spending = self._asking.spending
        reserved: list[float] = []
        try:
            while waiting is not None:
                lines: list[str] = []
                size, stopped = 0, False
                while waiting is not None and len(lines) < self._limits.max_requests:
                    line = json.dumps({"custom_id": waiting.key(), "method": "POST", "url": URL, "body": waiting.body})
                    if lines and size + len(line) + 1 > self._limits.max_bytes:
                        break
                    most = spending.most(waiting.body)
                    if not spending.reserve(most):
                        stopped = True
                        break
                    reserved.append(most)
                    lines.append(line)
                    size += len(line) + 1
                    waiting = next(requests, None)
                worth_it = lines and sum(reserved) >= LEAST_ROUND * (spending.max_cost_usd or 0.0)
                if stopped and not made and not worth_it:
                    raise CapReachedError(
                        f"judge.max_cost_usd={spending.max_cost_usd:g} has no room for another batch: "
                        f"${spending.usd:,.4f} is spent.\n  What is answered is kept: "
                        "the same command with a higher judge.max_cost_usd goes on from there"
                    )
                if lines:
                    await self._create(lines, number)
                    made += 1
                if stopped:
                    return False
        finally:
            # what is out is fetched, and its true cost known, before the next of them is made
            for most in reserved:
                spending.release(most)
        return True

    async def _create(self, lines: list[str], number: int) -> None:
        content = "".join(f"{line}\n" for line in lines).encode()
        keys = "".join(json.loads(line)["custom_id"] for line in lines)
        digest = hashlib.blake2b(f"{number} {keys}".encode(), digest_size=16).hexdigest()
        if self._known.get(digest, {}).get("done"):  # the same once more, in another run
            digest = hashlib.blake2b(f"{digest} {len(self._known)}".encode(), digest_size=16).hexdigest()
        client = self._asking.client
        self._note({"digest": digest, "num_requests": len(lines)})
        file = await client.files.create(file=(f"{MARK}-{digest}.jsonl", io.BytesIO(content)), purpose="batch")
        batch = await client.batches.create(
            input_file_id=file.id, endpoint="/v1/chat/completions", completion_window="24h", metadata={MARK: digest}
        )
        self._note({"digest": digest, "id": batch.id})
        self._say(f"batch {batch.id}: {len(lines):,} requests, {len(content):,} bytes")

    def _note(self, entry: dict[str, Any]) -> None:
        self._known.setdefault(entry["digest"], {}).update(entry)
        with open(self._log, "ab", buffering=0) as log:
            torn = log.tell() and not self._log.read_bytes().endswith(b"\n")
            log.write((b"\n" if torn else b"") + json.dumps(entry).encode() + b"\n")

    async def _find_lost(self) -> None:
        """The ids of batches that a kill has left without one; what was never made is forgotten."""
        lost = {digest for digest, entry in self._known.items() if "id" not in entry and not entry.get("done")}
        if not lost:
            return
        async for batch in self._asking.client.batches.list(limit=100):
            digest = (batch.metadata or {}).get(MARK)
            if digest in lost:
                lost.discard(digest)
                self._note({"digest": digest, "id": batch.id})
        for digest in lost:
            self._note({"digest": digest, "done": "never made"})

    async def _fetch_all(self, parse: Callable[[Any], list[float]]) -> None:
        """Wait for every batch under way, and journal its answers; those without an answer are then missing still."""
        waiting = [entry for entry in self._known.values() if "id" in entry and not entry.get("done")]
        while waiting:
            for entry in list(waiting):
                batch = await self._asking.client.batches.retrieve(entry["id"])
                if batch.status in UNDER_WAY:
                    continue
                for file in filter(None, (batch.output_file_id, batch.error_file_id)):
                    await self._fetch(file, parse)
                if batch.status == "failed" and not (batch.output_file_id or batch.error_file_id):
                    self._failed(batch)
                self._note({"digest": entry["digest"], "done": batch.status})
                waiting.remove(entry)
            if waiting:
                await asyncio.sleep(self._limits.poll_seconds)

    def _failed(self, batch: Any) -> None:
        """A batch that was refused as a whole. Where the account's queue is full, the next round tries again."""
        errors = (batch.errors.data if batch.errors else None) or []
        said = "; ".join(f"{error.code}: {error.message}" for error in errors) or "no reason given"
        if not any("limit" in (error.code or "") for error in errors):
            self._note({"digest": (batch.metadata or {}).get(MARK, ""), "done": "failed"})
            raise self._asking.endpoint.stopped(f"refuses the batch {batch.id} ({said[:300]})")
        self._too_large = said[:160]
        self._say(f"batch {batch.id} was refused ({said[:160]}): its requests are sent again")

    async def _fetch(self, file_id: str, parse: Callable[[Any], list[float]]) -> None:
        """Journal the answers of an output or error file: an answer, or a failure that another try would not mend."""
        content = (await self._asking.client.files.content(file_id)).content
        for line in content.splitlines():
            try:
                entry = json.loads(line)
                key, response = entry["custom_id"], entry.get("response") or {}
                bytes.fromhex(key)
            except (ValueError, KeyError, TypeError, AttributeError):
                continue  # its request is sent again
            if self._asking.journal.get(key) is not None:
                continue
            status, body = response.get("status_code"), response.get("body")
            if status == 200:
                used: tuple[int | None, int | None] = preferences.usage(body) or (None, None)
                try:
                    answer = Answer(parse(body), "", "", *used, batch=True)
                except AnswerError as error:
                    answer = Answer(None, error.reason, error.detail, *used, batch=True)
                self._asking.spending.add(used[0] or 0, used[1] or 0)
            elif isinstance(status, int) and 400 <= status < 500 and status not in (408, 409, 429):
                refused = self._asking.endpoint.refused(Reply(status, {}, json.dumps(body).encode()))
                if not isinstance(refused, AnswerError):
                    raise refused
                answer = Answer(None, refused.reason, refused.detail)
            else:
                continue
            self._asking.journal.add(key, answer)
