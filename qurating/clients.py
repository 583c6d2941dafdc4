"""Asking an OpenAI-compatible endpoint many questions at once, so that no answer is lost or paid for twice.

Every answer goes into an append-only journal as it comes. A rerun reads the journal and asks only what is missing.
"""

import asyncio
import contextlib
import hashlib
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import openai

from qurating.artifacts import StageError
from qurating.judging import AnswerError

PATH = "/chat/completions"
MAX_UNANSWERED_IN_A_ROW = 8  # requests without any reply, each already repeated, after which an endpoint counts as down
MAX_UNUSABLE_AT_FIRST = 20  # unusable answers before the first usable one, after which a setting must be wrong
STOP_AT_ONCE = {401, 403, 404, 405}  # what is wrong with one request is then wrong with all


class Endpoint(NamedTuple):
    """Where and how to ask. `api_key_variable` names an environment variable; null for an endpoint without keys."""

    base_url: str
    model: str
    api_key_variable: str | None
    max_concurrency: int
    timeout_seconds: float
    max_retries: int
    loopback: bool = False  # on this machine: never by a proxy

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


class Request(NamedTuple):
    """One call: where its answer belongs, and the body to post."""

    position: int
    body: dict[str, Any]

    def key(self) -> str:
        """A hash of model, messages and sampling parameters: the same question has the same key in every run."""
        text = json.dumps(self.body, sort_keys=True, ensure_ascii=False)
        return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=12).hexdigest()


class Answer(NamedTuple):
    """A list of numbers, or why there is none for good."""

    values: list[float] | None
    reason: str = ""
    detail: str = ""


class Journal:
    """An append-only file of JSON lines, one an answered request; what a kill left torn is dropped at opening."""

    def __init__(self, path: Path) -> None:
        self.found: dict[str, Answer] = {}
        with contextlib.suppress(FileNotFoundError):
            for line in path.read_bytes().splitlines():
                with contextlib.suppress(ValueError, KeyError, TypeError):  # a torn line: its request is asked again
                    entry = json.loads(line)
                    self.found[entry["key"]] = Answer(entry["values"], entry["reason"], entry["detail"])
        self._stream = open(path, "ab")  # noqa: SIM115 (closed by `close`)
        if self._stream.tell() and not path.read_bytes().endswith(b"\n"):
            self._stream.write(b"\n")

    def add(self, key: str, answer: Answer) -> None:
        self._stream.write(json.dumps({"key": key, **answer._asdict()}).encode() + b"\n")
        self._stream.flush()

    def close(self) -> None:
        self._stream.close()


class _NoReplyError(Exception):
    """No reply, after all retries; `settled` if the fault may be the request's own."""

    def __init__(self, message: str, settled: bool) -> None:
        super().__init__(message)
        self.settled = settled


@dataclass
class _Asking:
    """The state that the workers of one `ask_all` share."""

    endpoint: Endpoint
    api_key: str
    client: openai.AsyncOpenAI
    journal: Journal
    parse: Callable[[Any], list[float]]
    record: Callable[[int, Answer], None]
    usable_seen: bool
    unproven: list[tuple[Request, Answer]] = field(default_factory=list)  # unusable, before any usable answer
    unanswered: list[Request] = field(default_factory=list)
    unanswered_in_a_row: int = 0

    async def work(self, requests: Iterator[Request], last_chance: bool) -> None:
        """Ask what the shared iterator gives until it is empty."""
        for request in requests:
            try:
                values = self.parse(await self.reply(request.body))
            except AnswerError as error:
                self.unanswered_in_a_row = 0
                self.unusable(request, Answer(None, error.reason, error.detail))
            except _NoReplyError as error:
                self.unanswered_in_a_row += 1
                if self.unanswered_in_a_row >= min(MAX_UNANSWERED_IN_A_ROW, self.endpoint.max_concurrency):
                    raise self.down(error) from None
                if not last_chance:
                    self.unanswered.append(request)
                elif error.settled:
                    self.unusable(request, Answer(None, str(error)))
                else:
                    raise self.down(error) from None
            else:
                self.unanswered_in_a_row, self.usable_seen = 0, True
                self.keep_unproven()
                self.keep(request, Answer(values))

    async def reply(self, body: Mapping[str, Any]) -> Any:
        """The decoded reply; raises AnswerError, _NoReplyError, or StageError where all requests would fare alike."""
        try:
            # `post` is the client's own method beneath `chat.completions.create`: it retries, backs off and times out
            # alike, but leaves out the walk over the types of the arguments, which costs more than all the rest.
            text = await self.client.post(PATH, cast_to=str, body=dict(body))
        except openai.APIStatusError as error:
            raise self.refused(error) from None
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            # the client's transport calls a refused connection a time-out, too
            if isinstance(error, openai.APITimeoutError) and "Connect" not in type(cause).__name__:
                message = f"no reply within {self.endpoint.timeout_seconds:g} seconds"
                raise _NoReplyError(message, settled=True) from None
            raise _NoReplyError(f"no connection: {cause}", settled=False) from None
        try:
            return json.loads(text)
        except ValueError:
            raise AnswerError("the reply is not JSON", self.redacted(text)) from None

    def refused(self, error: openai.APIStatusError) -> Exception:
        """What an HTTP status of 400 or more means for the run."""
        status, said = error.status_code, self.redacted(error.message)
        if status in (401, 403):  # the reply may quote the key: it is not shown
            variable = self.endpoint.api_key_variable
            way_out = f"check the key in {variable}" if variable else "set judge.api_key_variable to the key's variable"
            return self.stopped(f"refuses access (HTTP {status}): {way_out}")
        if status in STOP_AT_ONCE:
            return self.stopped(
                f"knows no such path or model (HTTP {status}: {said}): check judge.base_url, which mostly ends in /v1, "
                f"and judge.model={self.endpoint.model}"
            )
        if status in (408, 409, 429) or status >= 500:
            if "insufficient_quota" in str(error.code):
                return self.stopped(f"says that the account's quota is used up (HTTP {status})")
            return _NoReplyError(f"HTTP {status}", settled=status == 500)
        return AnswerError(f"HTTP {status}", said)

    def unusable(self, request: Request, answer: Answer) -> None:
        """Keep a failure; but while nothing has worked at all, hold it back, for a setting may be what is wrong."""
        if self.usable_seen:
            return self.keep(request, answer)
        self.unproven.append((request, answer))
        if len(self.unproven) >= MAX_UNUSABLE_AT_FIRST:
            raise self.nothing_usable()

    def nothing_usable(self) -> StageError:
        answer = self.unproven[0][1]
        said = f"{answer.reason}: {answer.detail}" if answer.detail else answer.reason
        return self.stopped(
            f"gave no usable answer to any of the first {len(self.unproven)} requests ({said}): check judge.model, "
            "judge.method, judge.request_options and judge.prompt"
        )

    def keep_unproven(self) -> None:
        while self.unproven:
            self.keep(*self.unproven.pop(0))

    def keep(self, request: Request, answer: Answer) -> None:
        self.journal.add(request.key(), answer)
        self.record(request.position, answer)

    def redacted(self, text: str) -> str:
        return text.replace(self.api_key, "***")[:160] if self.endpoint.api_key_variable else text[:160]

    def down(self, error: Exception) -> StageError:
        if "429" in str(error):
            return self.stopped(f"refuses for now ({error}, too many requests): wait, or lower judge.max_concurrency")
        return self.stopped(f"does not answer ({error}): see that it runs and can be reached from here")

    def stopped(self, what: str) -> StageError:
        return StageError(
            f"the judge at {self.endpoint.base_url} {what}.\n"
            "  What is answered is kept: run the same command again to go on from there"
        )


async def ask_all(
    endpoint: Endpoint,
    requests: Iterable[Request],
    journal: Journal,
    parse: Callable[[Any], list[float]],
    record: Callable[[int, Answer], None],
) -> None:
    """Ask every request that the journal does not answer yet, and `record(position, answer)` each exactly once.

    At most `max_concurrency` requests are in flight, and `requests` is consumed no faster than that. `parse` makes
    numbers of a reply or raises AnswerError, which is recorded as a failure and stops nothing. A request without
    a reply is asked again at the end. Raises StageError where going on is no use: access refused, no such
    model, an endpoint that is down, or nothing but unusable answers.
    """
    api_key = endpoint.api_key()

    def missing() -> Iterator[Request]:
        for request in requests:
            if journal.found and (known := journal.found.get(request.key())):
                record(request.position, known)
            else:
                yield request

    http = openai.DefaultAioHttpClient(trust_env=not endpoint.loopback)
    async with openai.AsyncOpenAI(
        api_key=api_key,
        base_url=endpoint.base_url,
        timeout=endpoint.timeout_seconds,
        max_retries=endpoint.max_retries,
        http_client=http,
    ) as client:
        usable_seen = any(answer.values is not None for answer in journal.found.values())
        asking = _Asking(endpoint, api_key, client, journal, parse, record, usable_seen)
        for last_chance in (False, True):
            left = missing() if not last_chance else iter(asking.unanswered)
            try:
                async with asyncio.TaskGroup() as group:
                    for _ in range(endpoint.max_concurrency):
                        group.create_task(asking.work(left, last_chance))
            except ExceptionGroup as failed:
                raise failed.exceptions[0] from None
        if asking.unproven:
            raise asking.nothing_usable()
