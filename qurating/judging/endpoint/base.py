"""An OpenAI-compatible endpoint: where it is, how it is asked, and what its refusals mean."""

import contextlib
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import NamedTuple

from qurating.judging.endpoint.replies import AnswerError
from qurating.runtime.errors import StageError

STOP_AT_ONCE = {401, 403, 404, 405}  # what is wrong with one request is then wrong with all


class Reply(NamedTuple):
    """An HTTP reply of any status; `headers` are looked up by names in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class NoReplyError(Exception):
    """No reply. `lost`: the request may have been sent, and so answered and billed."""

    def __init__(self, message: str, lost: bool, timed_out: bool = False) -> None:
        super().__init__(message)
        self.lost, self.timed_out = lost, timed_out


@dataclass(frozen=True, kw_only=True)
class Endpoint:
    """Where and how to ask. `api_key_variable` names an environment variable; null for an endpoint without keys."""

    base_url: str
    model: str
    api_key_variable: str | None = None
    max_concurrency: int
    timeout_seconds: float
    max_retries: int  # of one request, after errors of the server or the connection
    patience_seconds: float = 0.0  # for refusals (HTTP 429), and for an endpoint that has answered before
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
        """An error that ends the run, and says that it can go on later."""
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


def may_pass(status: int) -> bool:
    """Whether the same request may be answered later: a conflict, too many requests, a fault of the server."""
    return status in (408, 409, 429) or status >= 500


def asks_for_patience(status: int) -> bool:
    """Whether an endpoint that could answer asks for fewer requests: too many of them, overload."""
    return status in (429, 503)


def error_of(content: bytes) -> tuple[str, str]:
    """Message and code of an error as the API writes it; else the text itself, and no code."""
    with contextlib.suppress(ValueError, AttributeError):
        error = json.loads(content)["error"] if b'"error"' in content else {}
        if isinstance(error, str):
            return error, ""
        if error:
            return str(error.get("message") or error), str(error.get("code") or error.get("type") or "")
    return content.decode(errors="replace"), ""
