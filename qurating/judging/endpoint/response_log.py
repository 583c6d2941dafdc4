"""The response log: each reply is written as it arrives, so that a kill loses none and none is paid for twice."""

import contextlib
import hashlib
import json
import re
import time
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import orjson

from qurating.judging.endpoint.replies import AnswerError, without_thoughts

Parse = Callable[[Any], list[float]]  # the numbers in a reply; raises AnswerError

_BEGINNING = re.compile(rb'\{"key":"([0-9a-f]+)","endpoint":"([0-9a-f]+)","reply":')
_CHECKSUM = b',"crc32":'  # the last field of a line, as bytes
# fields of a reply that say nothing about the answer; `bytes` repeats each token and is half of all log-probabilities
_NOT_KEPT = frozenset({"id", "object", "created", "usage", "service_tier", "index", "bytes"})


class Answer(NamedTuple):
    """The numbers of an answer, or why the request failed for good; tokens are None if the endpoint reports none."""

    values: list[float] | None
    reason: str = ""
    detail: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    batch: bool | None = None  # from the Batch API, which has its own price


class Earlier(Protocol):
    """Lines of other response logs, by the key of a request and the hash of an endpoint."""

    def __len__(self) -> int: ...

    def __call__(self, key: str, endpoint: str) -> dict[str, Any] | None: ...


class ResponseLog:
    """An append-only file of JSON lines, one per answered request, each with a checksum.

    The key of a line is a hash of the whole request and of its number among equal requests; beside it is a hash of
    `asked_of`, the identity of the endpoint. A line keeps the reply itself, the time and the tokens, so that a run that
    reads replies in another way finds them, too. A failure has its reason instead.

    Opening it drops lines that are incomplete or were changed, and counts them in `num_dropped`.

    `earlier`: other logs. What this one has no answer to is looked up there, for this endpoint; failures never are.
    Within this one the endpoint does not count: a run may go on at another address.

    A line is written to the file before the answer counts as received: a killed process loses nothing, a power failure
    may lose the last seconds. In memory: the file positions of answers from earlier runs, and with `remember` of this
    run too; never the answers.
    """

    def __init__(self, path: Path, remember: bool = False, asked_of: str = "", earlier: Earlier | None = None) -> None:
        self._remember, self._earlier = remember, earlier
        self._endpoint = hashlib.blake2b(asked_of.encode(), digest_size=8).hexdigest()
        self._places: dict[bytes, int] = {}
        self._failed: set[bytes] = set()  # those of `_places` without a reply
        self.prompt_tokens = self.completion_tokens = self.num_usable = self.num_dropped = 0
        self.by_batch = (0, 0)  # tokens of prompts and completions from the Batch API
        self.num_found_again = 0  # answers in `earlier` that were used
        self.by_model: dict[str, tuple[int, int, int]] = {}  # number, first and last time of the answers that were used
        place, whole = 0, True
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as lines:
            for line in lines:
                try:
                    if not is_intact(line):
                        raise ValueError("changed, or incomplete")
                    entry = decoded(line)
                    self._count(entry)
                    if entry["key"] is not None:
                        self._remember_place(bytes.fromhex(entry["key"]), place, "reply" not in entry)
                    elif entry.get("failures") == "forgotten":
                        self._forget()
                except (ValueError, KeyError, TypeError):  # its request is sent again
                    self.num_dropped += bool(line.strip())
                place, whole = place + len(line), line.endswith(b"\n")
        self._stream = open(path, "ab", buffering=0)  # noqa: SIM115 (closed by `close`)
        self._answers = open(path, "rb")  # noqa: SIM115
        if not whole:
            self._stream.write(b"\n")

    def __len__(self) -> int:
        """The number of answered requests in this log; 0 says nothing about `earlier`."""
        return len(self._places)

    def may_answer(self) -> bool:
        """Whether there is any line to look for."""
        return bool(self._places or self._earlier)

    def is_own(self, key: str) -> bool:
        """Whether this log, and not another, has the answer to a request."""
        return bytes.fromhex(key) in self._places

    def get(self, key: str, parse: Parse) -> Answer | None:
        """The answer from an earlier run (with `remember`, also from this run); None if there is none.

        `key`: of the request (`Request.key`). A reply that `parse` cannot use counts as none.
        """
        entry = self._find(key)
        return None if entry is None else _answer(entry, parse)

    def use(self, key: str, parse: Parse) -> Answer | None:
        """As `get`; and an answer of another log is counted as found again."""
        entry = self._find(key)
        answer = None if entry is None else _answer(entry, parse)
        if entry is not None and answer is not None and not self.is_own(key):
            self.num_found_again += 1
            self._note_model(entry)
        return answer

    def reply(self, key: str) -> Any:
        """The reply to a request; None if there is none."""
        return (self._find(key) or {}).get("reply")

    def add(self, key: str, answer: Answer, reply: Any = None, remember: bool = False) -> None:
        """Append an answer with its reply, or a failure; `remember`: `get` finds it in this run."""
        tokens = {"prompt_tokens": answer.prompt_tokens, "completion_tokens": answer.completion_tokens}
        entry: dict[str, Any] = {"key": key, "endpoint": self._endpoint}  # first, see `key_of_reply`
        if answer.values is not None:
            entry |= {"reply": _kept(without_thoughts(reply)), "time": int(time.time())}
        else:
            entry |= {"reason": answer.reason, "detail": answer.detail}
        entry |= {name: value for name, value in (tokens | {"batch": answer.batch}).items() if value is not None}
        if remember or self._remember:
            self._remember_place(bytes.fromhex(key), self._stream.seek(0, 2), answer.values is None)
        self._write(entry)

    def add_lost(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Append the tokens of a call that may be paid for although its reply was lost or is not an answer."""
        if prompt_tokens or completion_tokens:
            self._write({"key": None, "prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens})

    def forget_failures(self) -> None:
        """Append that the failed requests so far are to be asked again; what they cost still counts."""
        self._write({"key": None, "failures": "forgotten"})
        self._forget()

    def _find(self, key: str) -> dict[str, Any] | None:
        place = self._places.get(bytes.fromhex(key))
        if place is None:
            return self._earlier(key, self._endpoint) if self._earlier else None
        self._answers.seek(place)
        return decoded(self._answers.readline())

    def _remember_place(self, key: bytes, place: int, is_failure: bool) -> None:
        self._places[key] = place
        if is_failure:
            self._failed.add(key)
        else:
            self._failed.discard(key)

    def _forget(self) -> None:
        for key in self._failed:
            del self._places[key]
        self._failed.clear()

    def _write(self, entry: dict[str, Any]) -> None:
        try:
            line = orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:  # a lone surrogate in a text from the endpoint
            line = json.dumps(entry, separators=(",", ":")).encode() + b"\n"
        self._stream.write(_with_checksum(line))
        self._count(entry)

    def _count(self, entry: Mapping[str, Any]) -> None:
        self.prompt_tokens += entry.get("prompt_tokens") or 0
        self.completion_tokens += entry.get("completion_tokens") or 0
        if entry.get("batch"):
            prompt, completion = self.by_batch
            more = entry.get("prompt_tokens") or 0, entry.get("completion_tokens") or 0
            self.by_batch = prompt + more[0], completion + more[1]
        if "reply" in entry:
            self.num_usable += 1
            self._note_model(entry)

    def _note_model(self, entry: Mapping[str, Any]) -> None:
        """Count an answer for the model that the reply names."""
        reply, when = entry["reply"], int(entry.get("time") or 0)
        model = str(reply.get("model") or "")[:200] if isinstance(reply, Mapping) else ""
        number, first, last = self.by_model.get(model, (0, when, when))
        self.by_model[model] = number + 1, min(first, when), max(last, when)

    def close(self) -> None:
        self._stream.close()
        self._answers.close()


def is_intact(line: bytes) -> bool:
    """Whether the checksum of a line is that of the rest."""
    rest, _, checksum = line.rpartition(_CHECKSUM)
    return checksum.removesuffix(b"\n") == b"%d}" % zlib.crc32(rest + b"}\n")


def decoded(line: bytes) -> dict[str, Any]:
    """The content of an intact line."""
    try:
        found: dict[str, Any] = orjson.loads(line)
    except ValueError:  # a lone surrogate
        found = json.loads(line)
    return found


def key_of_reply(line: bytes) -> tuple[str, str] | None:
    """The key of the request and the hash of the endpoint of a line that holds a reply; None for other lines."""
    found = _BEGINNING.match(line)
    return (found[1].decode(), found[2].decode()) if found else None


def _answer(entry: Mapping[str, Any], parse: Parse) -> Answer | None:
    tokens = entry.get("prompt_tokens"), entry.get("completion_tokens"), entry.get("batch")
    if "reply" not in entry:
        return Answer(None, entry["reason"], entry["detail"], *tokens)
    try:
        return Answer(parse(entry["reply"]), "", "", *tokens)
    except AnswerError:
        return None


def _kept(reply: Any) -> Any:
    """A reply, which is JSON, without `_NOT_KEPT` and nulls."""
    if isinstance(reply, dict):
        return {
            key: _kept(value) if isinstance(value, dict | list) else value
            for key, value in reply.items()
            if value is not None and key not in _NOT_KEPT
        }
    return [_kept(value) for value in reply] if isinstance(reply, list) else reply


def _with_checksum(line: bytes) -> bytes:
    """A line `{…}` with the CRC-32 of itself as its last field."""
    return b"%b%b%d}\n" % (line[:-2], _CHECKSUM, zlib.crc32(line))
