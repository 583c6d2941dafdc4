"""An OpenAI-compatible endpoint: its address, requests to it, its replies, and what its errors mean."""

import contextlib
import functools
import hashlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from qurating.judging.endpoint.replies import AnswerError
from qurating.runtime.errors import StageError

STOP_AT_ONCE = {401, 403, 404, 405}  # every other request would fail in the same way


@dataclass(frozen=True)
class Request:
    """One call: the position of its answer, the body to post, and its number among identical calls."""

    position: int
    body: Mapping[str, Any]
    repeat: int = 0

    @functools.cached_property
    def content(self) -> bytes:
        """The body as it is sent: JSON with sorted keys."""
        return orjson.dumps(self.body, option=orjson.OPT_SORT_KEYS)

    def key(self) -> str:
        """A hash of model, messages, sampling parameters and `repeat`: the same in every run."""
        which = f"#{self.repeat}".encode() if self.repeat else b""
        return hashlib.blake2b(self.content + which, digest_size=12).hexdigest()


class Reply(NamedTuple):
    """An HTTP reply of any status; `headers` are looked up by lower-case names."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class NoReplyError(Exception):
    """No reply arrived. `lost`: the request may have been sent, and so may have been answered and billed."""

    def __init__(self, message: str, lost: bool, timed_out: bool = False) -> None:
        super().__init__(message)
        self.lost, self.timed_out = lost, timed_out


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Address and limits of an endpoint. `api_key_variable` names an environment variable; None: no key is needed."""

    base_url: str
    model: str
    api_key_variable: str | None = None
    max_concurrency: int
    timeout_seconds: float
    max_retries: int  # of one request, after server or connection errors
    patience_seconds: float = 0.0  # refusals (HTTP 429), and outages after a first answer
    loopback: bool = False  # on this machine: no proxy is used
    api: str = "openai"  # "openai" or "azure"
    api_version: str | None = None  # for azure

    def api_key(self) -> str:
        """The key; raises StageError, which names the variable, if it is not set."""
        if self.api_key_variable is None:
            return "none"
        key = os.environ.get(self.api_key_variable, "").strip()
        if not key:
            raise StageError(
                f"the environment variable {self.api_key_variable}, the key for {self.base_url}, is not set: "
                f"export {self.api_key_variable}=..., or name another variable with judge.api_key_variable"
            )
        return key

    def redacted(self, text: str) -> str:
        """The first 160 characters of a text from the endpoint, with the key masked."""
        return text.replace(self.api_key(), "***")[:160] if self.api_key_variable else text[:160]

    def stop_error(self, what: str) -> StageError:
        """An error that ends the run, and says how to continue it."""
        return StageError(
            f"the judge at {self.base_url} {what}.\n  Answers so far are kept: run the same command again to continue"
        )

    def error_for(self, reply: Reply) -> Exception:
        """The error for a status of 300 or more: StageError if every request would fail like this, else AnswerError."""
        message, code = error_of(reply.content)
        status, message = reply.status, self.redacted(message)
        if status in (401, 403):  # the message is not shown: it may quote the key
            variable = self.api_key_variable
            advice = f"check the key in {variable}" if variable else "set judge.api_key_variable to the key's variable"
            return self.stop_error(f"refuses access (HTTP {status}): {advice}")
        if status in STOP_AT_ONCE or 300 <= status < 400:
            return self.stop_error(
                f"does not know this path or model (HTTP {status}: {message}): check judge.base_url, which usually "
                f"ends in /v1, and judge.model={self.model}"
            )
        if "insufficient_quota" in code:
            return self.stop_error(f"reports that the account's quota is used up (HTTP {status})")
        return AnswerError(f"HTTP {status}", message)


def is_transient(status: int) -> bool:
    """Whether a retry of the same request may succeed: timeout, conflict, too many requests, server error."""
    return status in (408, 409, 429) or status >= 500


def is_throttling(status: int) -> bool:
    """Whether the endpoint asks for fewer requests: too many requests, overload."""
    return status in (429, 503)


def error_of(content: bytes) -> tuple[str, str]:
    """Message and code of an error in the API's format; for any other content, the text itself and no code."""
    with contextlib.suppress(ValueError, AttributeError):
        error = json.loads(content)["error"] if b'"error"' in content else {}
        if isinstance(error, str):
            return error, ""
        if error:
            return str(error.get("message") or error), str(error.get("code") or error.get("type") or "")
    return content.decode(errors="replace"), ""
