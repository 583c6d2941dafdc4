"""An OpenAI-compatible endpoint: its address, requests to it, its replies, and what its errors mean."""

import functools
import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple

import orjson

from qurating.judging.endpoint import refusals
from qurating.judging.endpoint.costs import LIMITS
from qurating.judging.endpoint.refusals import Kind, Refusal
from qurating.judging.endpoint.replies import AnswerError, ParameterError
from qurating.runtime.errors import StageError
from qurating.runtime.masking import Redaction, secrets_of, without_password

SHORT_WAIT_SECONDS = 8.0  # that is waited whatever the patience


@dataclass(frozen=True)
class Request:
    """One call: the position of its answer, the body to post, and its number among identical calls.

    `limit_counts`: whether the limit on the tokens of a reply is a part of the key. A thought that fitted a lower limit
    is found again under a higher one.
    """

    position: int
    body: Mapping[str, Any]
    repeat: int = 0
    limit_counts: bool = True

    @functools.cached_property
    def content(self) -> bytes:
        """The body as it is sent: JSON with sorted keys."""
        return orjson.dumps(self.body, option=orjson.OPT_SORT_KEYS)

    def key(self) -> str:
        """A hash of model, messages, sampling parameters and `repeat`: the same in every run."""
        which = f"#{self.repeat}".encode() if self.repeat else b""
        content = self.content
        if not self.limit_counts:
            counted = {key: value for key, value in self.body.items() if key not in LIMITS}
            content = orjson.dumps(counted, option=orjson.OPT_SORT_KEYS)
        return hashlib.blake2b(content + which, digest_size=12).hexdigest()


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
    answers_as: str | None = None  # of our own servers, whose address says nothing about the model

    @property
    def identity(self) -> str:
        """Two answers to one request are draws from the same distribution if this is the same; it holds no key."""
        version = f" {self.api_version}" if self.api == "azure" else ""
        return self.answers_as or f"{self.api} {self.base_url}{version}"

    def api_key(self) -> str:
        """The key; raises StageError, which names the variable, if it is not set."""
        if self.api_key_variable is None:
            return "none"
        key = os.environ.get(self.api_key_variable, "").strip()
        if not key:
            raise StageError(
                f"the environment variable {self.api_key_variable}, the key for {without_password(self.base_url)}, is "
                f"not set: export {self.api_key_variable}=..., or name another variable with judge.api_key_variable"
            )
        if not (key.isascii() and key.isprintable()):
            raise StageError(
                f"the key in the environment variable {self.api_key_variable} has characters that no header can hold: "
                "it may have been copied with a line break, a dash or a quotation mark of a text editor"
            )
        return key

    @functools.cached_property
    def redaction(self) -> Redaction:
        """Masks the secrets of this endpoint; everything that it says passes through."""
        return Redaction(secrets_of(self.base_url, self.api_key() if self.api_key_variable else None))

    def redacted(self, text: str) -> str:
        """The first 300 characters of a text from the endpoint, without secrets."""
        return self.redaction.text(text)[:300]

    def stop_error(self, what: str) -> StageError:
        """An error that ends the run, and says how to continue it."""
        return StageError(
            f"the judge at {without_password(self.base_url)} {what}.\n  Answers so far are kept: run the same command "
            "again to continue"
        )

    def refusal(self, status: int, body: Any, text: str = "") -> Refusal | None:
        """The refusal in a reply (`refusals.read`), in words without secrets; None if the reply is an answer."""
        found = refusals.read(status, body, text)
        return found and found._replace(words=self.redacted(found.words))

    def too_long_a_wait(self, refusal: Refusal, seconds: float) -> StageError | None:
        """The error for a refusal that asks to wait for longer than `patience_seconds`; None for a shorter wait."""
        if seconds <= max(self.patience_seconds, SHORT_WAIT_SECONDS):
            return None
        return self.stop_error(
            f"asks to wait for {seconds:,.0f} seconds ({refusal}), longer than judge.patience_seconds="
            f"{self.patience_seconds:g}"
        )

    def error_for(self, refusal: Refusal) -> StageError | AnswerError:
        """The error for a refusal: StageError if every request would be refused like this, else AnswerError."""
        if refusal.kind is Kind.ACCESS:
            variable = self.api_key_variable
            advice = f"check the key in {variable}" if variable else "set judge.api_key_variable to the key's variable"
            error = f"refuses access ({refusal}): {advice}"
        elif refusal.kind is Kind.PLACE:
            error = (
                f"does not know this path or model ({refusal}): check judge.base_url, which usually ends in /v1, and "
                f"judge.model={self.model}"
            )
        elif refusal.kind is Kind.QUOTA:
            error = f"reports that the account's quota is used up ({refusal})"
        elif refusal.kind is Kind.PARAMETER:
            return ParameterError(refusal.reason, refusal.words)
        else:
            return AnswerError(refusal.reason, refusal.words)
        if refusal.certain:
            return self.stop_error(error)
        return UncertainStopError(str(self.stop_error(error)), AnswerError(refusal.reason, refusal.words))


class UncertainStopError(StageError):
    """A refusal of all requests, unless others are answered: then it is `instead`, of one request."""

    def __init__(self, message: str, instead: AnswerError) -> None:
        super().__init__(message)
        self.instead = instead
