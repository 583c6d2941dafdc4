"""Calls of a Batch API that fail for a while, or whose reply is lost: nothing is made or paid for twice."""

import asyncio
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from batch_fixtures import BatchServer
from endpoint_client import endpoint_at, numbered_requests

from qurating.judging.endpoint import retries
from qurating.judging.endpoint.batch_files import Limits
from qurating.judging.endpoint.batch_log import BatchLog
from qurating.judging.endpoint.batches import Batches
from qurating.judging.endpoint.costs import Spending
from qurating.judging.endpoint.response_log import Answer, ResponseLog
from qurating.runtime.errors import StageError


@pytest.fixture(autouse=True)
def _short_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retries, "MAX_BACKOFF_SECONDS", 0.01)


def ask(url: str, folder: Path, **changes: Any) -> dict[int, Answer]:
    found: dict[int, Answer] = {}
    response_log = ResponseLog(folder / "journal.jsonl", remember=True)
    log, limits = BatchLog(folder / "b.jsonl"), Limits(10, 10**6, 0.01)
    batches = Batches(endpoint_at(url, **changes), response_log, Spending(None, None), log, limits, lambda said: None)
    try:
        asyncio.run(batches.ask_all(lambda: numbered_requests(25), lambda reply: [reply["value"]], found.__setitem__))
    finally:
        response_log.close()
    return found


def server() -> BatchServer:
    return BatchServer(lambda body: (200, {"value": float(body["messages"][0]["content"].split()[1])}))


def first(calls: Counter[str], path: str, trouble: Any) -> Any:
    """Trouble for the first two calls of each kind: an upload, a creation, each poll, each content."""
    calls[path] += 1
    return trouble if calls[path] <= 2 else None


@pytest.mark.parametrize(
    "trouble",
    [
        (429, {"error": {"message": "slow down"}}),
        (500, {"error": {"message": "oops"}}),
        (503, {}),
        (200, {"error": {"message": "slow down", "code": 429}}),
        "lost",
    ],
    ids=str,
)
def test_what_passes_is_waited_out_and_no_batch_is_made_twice(tmp_path: Path, trouble: Any) -> None:
    calls: Counter[str] = Counter()
    here = server()
    here.trouble = lambda path: first(calls, path, trouble)
    with here.serving() as url:
        found = ask(url, tmp_path, patience_seconds=60.0)
    assert found == {i: Answer([float(i)], batch=True) for i in range(25)}
    assert here.sizes() == [10, 10, 5]
    assert min(calls[path] for path in calls if path != "GET /v1/batches") >= 3


def test_a_batch_whose_creation_was_lost_is_found(tmp_path: Path) -> None:
    here = server()
    lost: list[str] = []

    def trouble(path: str) -> str | None:
        if path == "POST /v1/batches" and not lost:
            lost.append(path)
            return "lost"
        return None

    here.trouble = trouble
    with here.serving() as url:
        assert len(ask(url, tmp_path, max_retries=1)) == 25
    assert lost
    assert here.sizes() == [10, 10, 5]


def test_a_wait_beyond_the_patience_is_said_at_once(tmp_path: Path) -> None:
    here = server()
    here.headers = {"retry-after": "3600"}
    here.trouble = lambda path: (429, {"error": {"message": "daily limit"}})
    with here.serving() as url, pytest.raises(StageError, match=r"wait for 3,600 seconds \(HTTP 429: daily limit"):
        ask(url, tmp_path, patience_seconds=60.0)


def test_a_redirect_is_named_and_not_followed(tmp_path: Path) -> None:
    here = server()
    here.headers = {"location": "https://elsewhere.example/v2"}
    here.trouble = lambda path: (307, {})
    with here.serving() as url, pytest.raises(StageError, match=r"redirects to https://elsewhere\.example/v2"):
        ask(url, tmp_path)


@pytest.mark.parametrize(
    ("path", "status", "says"),
    [
        ("POST /v1/files", 503, r"does not answer \(HTTP 503: maintenance\)"),
        ("GET /v1/batches/batch-0", 500, r"does not answer \(HTTP 500: maintenance\)"),
        ("POST /v1/batches", 400, r"refuses batches \(HTTP 400: maintenance\)"),
        ("POST /v1/files", 401, r"refuses access \(HTTP 401: maintenance\)"),
        ("POST /v1/batches", 402, "quota is used up"),
    ],
)
def test_what_lasts_ends_the_run_and_the_next_one_continues(tmp_path: Path, path: str, status: int, says: str) -> None:
    here = server()
    here.trouble = lambda call: (status, {"error": {"message": "maintenance"}}) if call == path else None
    with here.serving() as url:
        with pytest.raises(StageError, match=says):
            ask(url, tmp_path, max_retries=1)
        here.trouble = lambda path: None
        assert len(ask(url, tmp_path)) == 25
    assert here.sizes() == [10, 10, 5]
