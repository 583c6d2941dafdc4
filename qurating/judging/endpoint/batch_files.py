"""The files of a Batch API: requests as lines, packed within its limits, and their responses read."""

import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any, NamedTuple

from qurating.judging.endpoint.response_log import Request
from qurating.judging.endpoint.transport import PATH

URL = f"/v1{PATH}"


class Limits(NamedTuple):
    """Of one input file; `poll_seconds` between two looks at what has become of it."""

    max_requests: int
    max_bytes: int
    poll_seconds: float


def packed(
    requests: Iterable[Request], limits: Limits, let_out: Callable[[Request], bool]
) -> Iterator[tuple[list[str], bool]]:
    """The lines of one input file after another, and whether `let_out` refused the request after them: then no more."""
    lines: list[str] = []
    size = 0
    for request in requests:
        line = json.dumps({"custom_id": request.key(), "method": "POST", "url": URL, "body": request.body})
        if lines and (len(lines) == limits.max_requests or size + len(line) + 1 > limits.max_bytes):
            yield lines, False
            lines, size = [], 0
        if not let_out(request):
            yield lines, True
            return
        lines.append(line)
        size += len(line) + 1
    if lines:
        yield lines, False


def responses(content: bytes) -> Iterator[tuple[str, int | None, Any]]:
    """Key, HTTP status (None if there is none) and body of each line of an output or error file that can be read."""
    for line in content.splitlines():
        try:
            entry = json.loads(line)
            key, response = entry["custom_id"], entry.get("response") or {}
            bytes.fromhex(key)
            status, body = response.get("status_code"), response.get("body")
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # its request is sent again
        yield key, status if isinstance(status, int) else None, body
