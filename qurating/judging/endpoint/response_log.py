"""The response log: each answer is written as it arrives, so that a kill loses none and none is paid for twice."""

import contextlib
import json
import zlib
from pathlib import Path
from typing import Any, NamedTuple

import orjson

_CHECKSUM = b',"crc32":'  # the last field of a line, as bytes


class Answer(NamedTuple):
    """The numbers of an answer, or why the request failed for good; tokens are None if the endpoint reports none."""

    values: list[float] | None
    reason: str = ""
    detail: str = ""
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    batch: bool | None = None  # from the Batch API, which has its own price


class ResponseLog:
    """An append-only file of JSON lines, one per answered request, each with a checksum.

    Opening it drops lines that are incomplete or were changed, and counts them in `num_dropped`. Lines of earlier
    versions have no checksum; they come before all others.

    A line is written to the file before the answer counts as received: a killed process loses nothing, a power failure
    may lose the last seconds. In memory: the file positions of answers from earlier runs, and with `remember` of this
    run too; never the answers.
    """

    def __init__(self, path: Path, remember: bool = False) -> None:
        self._remember = remember
        self._places: dict[bytes, int] = {}
        self._failed: set[bytes] = set()  # those of `_places` without numbers
        self.prompt_tokens = self.completion_tokens = self.num_usable = self.num_dropped = 0
        self.by_batch = (0, 0)  # tokens of prompts and completions from the Batch API
        place, whole, earlier = 0, True, True
        with contextlib.suppress(FileNotFoundError), open(path, "rb") as lines:
            for line in lines:
                intact = _is_intact(line)
                earlier = earlier and intact is None
                try:
                    if not (intact or earlier):
                        raise ValueError("changed, or incomplete")
                    entry = json.loads(line)
                    self._count(entry)
                    if entry["key"] is not None:
                        self._remember_place(bytes.fromhex(entry["key"]), place, entry["values"] is None)
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
        return len(self._places)

    def get(self, key: str) -> Answer | None:
        """The answer from an earlier run (with `remember`, also from this run); None if there is none."""
        place = self._places.get(bytes.fromhex(key))
        if place is None:
            return None
        self._answers.seek(place)
        entry = json.loads(self._answers.readline())
        return Answer(*(entry.get(name) for name in Answer._fields))

    def add(self, key: str, answer: Answer, remember: bool = False) -> None:
        """Append an answer; `remember`: `get` finds it in this run."""
        entry = {"key": key} | {name: value for name, value in answer._asdict().items() if value not in (None, "")}
        if remember or self._remember:
            self._remember_place(bytes.fromhex(key), self._stream.seek(0, 2), answer.values is None)
        self._write(entry | {"values": answer.values, "reason": answer.reason, "detail": answer.detail})

    def add_lost(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Append the tokens of a call that may be paid for although its reply was lost or is not an answer."""
        if prompt_tokens or completion_tokens:
            self._write(
                {"key": None, "values": None, "prompt_tokens": prompt_tokens, "completion_tokens": completion_tokens}
            )

    def forget_failures(self) -> None:
        """Append that the failed requests so far are to be asked again; what they cost still counts."""
        self._write({"key": None, "values": None, "failures": "forgotten"})
        self._forget()

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
            line = json.dumps(entry).encode() + b"\n"
        self._stream.write(_with_checksum(line))
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


def _with_checksum(line: bytes) -> bytes:
    """A line `{…}` with the CRC-32 of itself as its last field."""
    return b"%b%b%d}\n" % (line[:-2], _CHECKSUM, zlib.crc32(line))


def _is_intact(line: bytes) -> bool | None:
    """Whether the checksum of a line is that of the rest; None if it has none."""
    rest, found, checksum = line.rpartition(_CHECKSUM)
    return checksum.removesuffix(b"\n") == b"%d}" % zlib.crc32(rest + b"}\n") if found else None
