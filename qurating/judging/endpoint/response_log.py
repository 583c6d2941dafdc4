"""The judge's journal: answers on disk as they come, so that a kill loses none and none is paid for twice."""

import contextlib
import functools
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import orjson


@dataclass(frozen=True)
class Request:
    """One call: where its answer belongs, the body to post, and which of several equal calls it is."""

    position: int
    body: Mapping[str, Any]
    repeat: int = 0

    @functools.cached_property
    def content(self) -> bytes:
        """The body as it is sent, in JSON with its keys in order."""
        return orjson.dumps(self.body, option=orjson.OPT_SORT_KEYS)

    def key(self) -> str:
        """A hash of model, messages, sampling parameters and `repeat`: the same in every run."""
        which = f"#{self.repeat}".encode() if self.repeat else b""
        return hashlib.blake2b(self.content + which, digest_size=12).hexdigest()


class Answer(NamedTuple):
    """A list of numbers, or why there is none for good; and the tokens that it took, where the endpoint says so."""

    values: list[float] | None
    reason: str = ""
    detail: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    batch: bool | None = None  # whether it came by the Batch API, which has its own price


class Journal:
    """An append-only file of JSON lines, one an answered request; what a kill left torn is dropped at opening.

    A line reaches the system before the answer counts as given: a killed process loses nothing, a machine that loses
    power may lose the last seconds. In memory: where each answer of earlier runs stands in the file, not the answers;
    with `remember`, those of this run too.
    """

    def __init__(self, path: Path, remember: bool = False) -> None:
        self._remember = remember
        self._places: dict[bytes, int] = {}
        self.prompt_tokens = self.completion_tokens = self.num_usable = 0
        self.by_batch = (0, 0)  # tokens of the prompts and of the completions, of those
        place, whole = 0, True
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as lines:
            for line in lines:
                with contextlib.suppress(ValueError, KeyError, TypeError):  # a torn line: its request is asked again
                    entry = json.loads(line)
                    self._count(entry)
                    if entry["key"] is not None:
                        self._places[bytes.fromhex(entry["key"])] = place
                place, whole = place + len(line), line.endswith(b"\n")
        self._stream = open(path, "ab", buffering=0)  # noqa: SIM115 (closed by `close`)
        self._answers = open(path, "rb")  # noqa: SIM115
        if not whole:
            self._stream.write(b"\n")

    def __len__(self) -> int:
        return len(self._places)

    def get(self, key: str) -> Answer | None:
        """The answer that an earlier run was given (with `remember`, or this one)."""
        place = self._places.get(bytes.fromhex(key))
        if place is None:
            return None
        self._answers.seek(place)
        entry = json.loads(self._answers.readline())
        return Answer(*(entry.get(name) for name in Answer._fields))

    def add(self, key: str, answer: Answer, remember: bool = False) -> None:
        entry = {"key": key} | {name: value for name, value in answer._asdict().items() if value not in (None, "")}
        if remember or self._remember:
            self._places[bytes.fromhex(key)] = self._stream.seek(0, 2)
        self._write(entry | {"values": answer.values, "reason": answer.reason, "detail": answer.detail})

    def add_lost(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Tokens of a call that may have been paid for without an answer: its reply did not come through."""
        if prompt_tokens or completion_tokens:
            self._write(
                {"key": None, "values": None, "prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
            )

    def _write(self, entry: dict[str, Any]) -> None:
        try:
            line = orjson.dumps(entry, option=orjson.OPT_APPEND_NEWLINE)
        except TypeError:  # half a character in what an endpoint said
            line = json.dumps(entry).encode() + b"\n"
        self._stream.write(line)
        self._count(entry)

    def _count(self, entry: dict[str, Any]) -> None:
        self.prompt_tokens += entry.get("prompt_tokens") or 0
        self.completion_tokens += entry.get("completion_tokens") or 0
        if entry.get("batch"):
            prompt, completion = self.by_batch
            more = entry.get("prompt_tokens") or 0, entry.get("completion_tokens") or 0
            self.by_batch = prompt + more[0], completion + more[1]
        self.num_usable += entry["values"] is not None

    def close(self) -> None:
        self._stream.close()
        self._answers.close()
