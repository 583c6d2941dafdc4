"""Input and output files of a Batch API: writing requests within its limits, and reading responses."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from qurating.judging.endpoint.base import Request
from qurating.judging.endpoint.transport import PATH

URL = f"/v1{PATH}"


class Limits(NamedTuple):
    """Limits of one input file; `poll_seconds` is the time between two status requests."""

    max_requests: int
    max_bytes: int
    poll_seconds: float


def packed(
    requests: Iterable[Request], limits: Limits, admit: Callable[[Request], bool]
) -> Iterator[tuple[list[str], bool]]:
    """Yield the lines of each input file, and whether `admit` refused the next request, which ends the iteration."""
    lines: list[str] = []
    size = 0
    for request in requests:
        line = json.dumps({"custom_id": request.key(), "method": "POST", "url": URL, "body": request.body})
        if lines and (len(lines) == limits.max_requests or size + len(line) + 1 > limits.max_bytes):
            yield lines, False
            lines, size = [], 0
        if not admit(request):
            yield lines, True
            return
        lines.append(line)
        size += len(line) + 1
    if lines:
        yield lines, False


def responses(content: bytes) -> Iterator[tuple[str, int | None, Any]]:
    """Key, HTTP status (or None) and body of each readable line of an output or error file."""
    for line in content.splitlines():
        try:
            entry = json.loads(line)
            key, response = entry["custom_id"], entry.get("response") or {}
            bytes.fromhex(key)
            status, body = response.get("status_code"), response.get("body") or {"error": entry.get("error")}
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # its request is sent again
        yield key, status if isinstance(status, int) else None, body
