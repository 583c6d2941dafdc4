"""What a refusal of an endpoint is about, by its status and its words: one request, a parameter, or all requests.

Statuses alone do not say it: 403 is a wrong key, a flagged prompt, or log-probabilities that a model does not give.
Some servers put errors into an HTTP 200. The lines of a batch are read in the same way.
"""

import re
from collections.abc import Iterator, Mapping
from enum import Enum
from typing import Any, NamedTuple


class Kind(Enum):
    """What a refusal concerns, and so what follows from it."""

    REQUEST = "this request: recorded as failed"
    FILTERED = "the texts of this request: recorded as failed"
    PARAMETER = "a parameter: another method may do without it"
    WAIT = "the moment: sent again"
    ACCESS = "all requests: the key"
    QUOTA = "all requests: the account"
    PLACE = "all requests: path or model"

    @property
    def is_of_all(self) -> bool:
        return self in (Kind.ACCESS, Kind.QUOTA, Kind.PLACE)


class Refusal(NamedTuple):
    """`status`: of the reply, or the one in its error; `certain`: False if it may be about this request alone."""

    kind: Kind
    status: int
    words: str
    within_200: bool = False
    certain: bool = True

    @property
    def reason(self) -> str:
        """The same for all refusals of a kind."""
        where = f"error {self.status} within HTTP 200" if self.within_200 else f"HTTP {self.status}"
        return f"content filter ({where})" if self.kind is Kind.FILTERED else where

    @property
    def is_throttling(self) -> bool:
        """Whether the endpoint asks for fewer requests: too many requests, overload."""
        return self.status in (429, 503, 529)

    def __str__(self) -> str:
        return f"{self.reason}: {self.words}" if self.words else self.reason


def read(status: int, body: Any, text: str = "") -> Refusal | None:
    """The refusal in a reply; None if it is an answer.

    `body`: its decoded JSON, None for anything else; `text`: the content as it came, which is quoted without JSON.
    """
    error = _error_in(body)
    if status < 300 and error is None:
        return None
    words, codes = ("" if body in ({}, []) else text, []) if error is None else (_words(error), list(_codes(error)))
    within_200 = status < 300
    if within_200:
        status = _status_in(codes)
    kind, certain = _kind(status, codes, " ".join([*codes, words]).lower())
    return Refusal(kind, status, words, within_200, certain)


_WAIT_CODES = {
    **dict.fromkeys(("rate_limit_exceeded", "rate_limit_error", "too_many_requests", "resource_exhausted"), 429),
    **dict.fromkeys(("overloaded", "overloaded_error", "engine_overloaded", "service_unavailable", "unavailable"), 503),
    **dict.fromkeys(("server_error", "internal_server_error", "internal_error", "timeout", "timeout_error"), 500),
}
_OTHER_CODES = {
    **dict.fromkeys(("invalid_api_key", "authentication_error", "unauthorized"), 401),
    **dict.fromkeys(("model_not_found", "not_found_error"), 404),
    **dict.fromkeys(("invalid_request_error", "unsupported_parameter", "unsupported_value", "bad_request"), 400),
    **dict.fromkeys(("permission_denied", "permission_error"), 403),
    **dict.fromkeys(("content_filter", "content_policy_violation", "context_length_exceeded"), 400),
}
_QUOTA_CODES = {"insufficient_quota", "billing_hard_limit_reached", "billing_not_active", "budget_exceeded"}
_FILTERED = re.compile(
    r"content.?(filter|policy|management)|moderation|flagged|responsibleai|data_inspection|prohibited.content"
    r"|safety (system|filter|polic)|usage polic|inappropriate content"
)
_TOO_LONG = re.compile(
    r"context.?(length|window|size)|(prompt|input|request|message|text).{0,40}too (long|large)\b|reduce the length"
    r"|string_above_max_length"
)
_QUOTA = re.compile(
    r"insufficient.(quota|credit|balance|fund)|(more|out of|no) credits|current quota|budget has been exceeded"
    r"|exceeded.budget|payment required|credit balance"
)
_KEY = re.compile(
    r"\b(bad|invalid|incorrect|wrong|unknown|missing|expired|revoked|no)\b.{0,24}\bkey\b"
    r"|\bkey\b.{0,12}\bnot (valid|found)\b|authenticationerror|authentication (error|fail)|key not found in db"
)
_PARAMETER = re.compile(
    r"log.?prob|logit_bias|\bbest_of\b|temperature|max_(completion_)?tokens|unsupported.(parameter|value)"
    r"|\bn\b['\"`]?\s*(must|should|is|has|>|=|<|greater|cannot|can't|not)"
    r"|(one|single|multiple|several) (choice|completion)"
)
_MODEL = re.compile(
    r"model_not_found|model.{0,80}(not found|does not exist|not exist|unavailable|not available|not supported)"
    r"|(invalid|unknown|no such|unrecognized) model|model name passed|provider not provided"
)


def _kind(status: int, codes: list[str], said: str) -> tuple[Kind, bool]:
    """What a refusal concerns, and whether that is certain."""
    if status < 500 and status not in (401, 402, 429) and _FILTERED.search(said):
        return Kind.FILTERED, True
    if status == 402 or not _QUOTA_CODES.isdisjoint(codes):
        return Kind.QUOTA, True
    if status in (408, 409, 425, 429) or (status >= 500 and status != 501):
        return Kind.WAIT, True
    if _QUOTA.search(said):
        return Kind.QUOTA, True
    if not _WAIT_CODES.keys().isdisjoint(codes):
        return Kind.WAIT, True
    if status == 401 or (status != 404 and _KEY.search(said)):
        return Kind.ACCESS, True
    if _TOO_LONG.search(said):
        return Kind.REQUEST, True
    if status == 501 or (status in (400, 403, 422) and _PARAMETER.search(said)):
        return Kind.PARAMETER, True
    if status in (301, 302, 303, 307, 308, 405) or _MODEL.search(said):
        return Kind.PLACE, True
    if status == 404:
        return Kind.PLACE, False
    if status == 403:
        return Kind.ACCESS, False
    return Kind.REQUEST, True


def _status_in(codes: list[str]) -> int:
    """The HTTP status that an error within an HTTP 200 stands for; 500 if nothing says it: it is sent again."""
    for code in codes:
        if re.fullmatch(r"[345]\d\d", code):
            return int(code)
        if found := _WAIT_CODES.get(code) or _OTHER_CODES.get(code) or (429 if code in _QUOTA_CODES else None):
            return found
    return 500


def _error_in(body: Any) -> Any:
    """The error in a decoded reply, in the forms of servers; None if it has none."""
    if isinstance(body, list) and body and isinstance(body[0], Mapping):
        return _error_in(body[0])
    if not isinstance(body, Mapping):
        return None
    choices = body.get("choices")
    if isinstance(choices, list) and choices:
        first = choices[0]
        return (first.get("error") or None) if isinstance(first, Mapping) else None
    if body.get("error"):
        error = body["error"]
        return {**body, **error} if isinstance(error, Mapping) else {**body, "message": error}
    is_error = body.get("object") == "error" or body.get("type") == "error" or body.get("errors")
    return body if is_error or ("choices" not in body and ("detail" in body or "message" in body)) else None


def _words(error: Any) -> str:
    if not isinstance(error, Mapping):
        return str(error)
    said = next((error[name] for name in ("message", "detail", "errors", "msg") if error.get(name)), None)
    metadata = error.get("metadata")
    more = f" {metadata}" if isinstance(metadata, Mapping) and metadata else ""
    if said is None:
        said = ", ".join(str(error[name]) for name in ("code", "type", "status") if error.get(name)) or error
    return f"{said}{more}"


def _codes(error: Any) -> Iterator[str]:
    for name in ("code", "type", "status", "param") if isinstance(error, Mapping) else ():
        if (code := error.get(name)) not in (None, ""):
            yield str(code).lower()
