"""Judgments with failures: too many are not published, and a failure is asked again without paying for the rest."""

import json
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from aiohttp import web
from batch_fixtures import BatchServer
from judge_fixtures import CRITERIA, endpoint, logprob_reply, respond
from judge_stage import run, settings

from qurating.artifacts.files import read_json
from qurating.runtime.errors import StageError

ONE = {"educational_value": CRITERIA["educational_value"]}
NUM_REQUESTS = 24  # twelve pairs in both orders


pytestmark = pytest.mark.usefixtures("quick_figures")


class Moody:
    """Answers, with prose to every `prose_every`-th new question if that is set, and notes what it was asked."""

    def __init__(self, prose_every: int | None) -> None:
        self.prose_every = prose_every
        self.asked: list[str] = []
        self.prose: set[str] = set()

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        question = json.dumps(body["messages"])
        is_new = question not in self.asked
        self.asked.append(question)
        if self.prose_every and is_new and (len(self.asked) % self.prose_every == 0):
            self.prose.add(question)
            return logprob_reply({"Sorry": -0.01})
        return logprob_reply({"A": math.log(0.25), "B": math.log(0.75)})

    def __call__(self, call: dict[str, Any]) -> web.Response:
        return respond(self.reply(call["body"]))


def test_too_many_failures_are_not_published_and_only_they_are_asked_again(tmp_path: Path, corpus: Path) -> None:
    server = Moody(prose_every=3)
    with endpoint(server) as url:
        given = settings("endpoint", base_url=url, max_concurrency=1)
        with pytest.raises(StageError, match=r"33\.3 % of the judgments(.|\n)*8 times neither label"):
            run(tmp_path / "o", corpus, given, ONE)
        assert not (tmp_path / "o" / "summary.json").exists()
        assert not (tmp_path / "o" / "judgments.parquet").exists()
        first, server.asked, server.prose_every = server.asked, [], None
        counts = run(tmp_path / "o", corpus, given, ONE)
    assert len(first) == NUM_REQUESTS
    assert set(server.asked) == server.prose
    assert len(server.asked) == 8
    assert counts["failed_requests"] == 0


def test_a_share_of_failures_can_be_allowed(tmp_path: Path, corpus: Path) -> None:
    with endpoint(Moody(prose_every=3)) as url:
        given = settings("endpoint", base_url=url, max_concurrency=1, max_failed_fraction=0.4)
        counts = run(tmp_path / "o", corpus, given, ONE)
    assert counts["failed_requests"] == 8


def test_failures_of_published_judgments_are_asked_again_and_nothing_else(tmp_path: Path, corpus: Path) -> None:
    server = Moody(prose_every=24)
    with endpoint(server) as url:
        given = settings("endpoint", base_url=url, max_concurrency=1)
        assert run(tmp_path / "first", corpus, given, ONE, responses=tmp_path / "r")["failed_requests"] == 1
        server.asked, server.prose_every = [], None
        counts = run(tmp_path / "again", corpus, given | {"retry_failed": True}, ONE, responses=tmp_path / "r")
        assert set(server.asked) == server.prose
        assert len(server.asked) == 1
        assert (counts["failed_requests"], counts["found_again"]) == (0, NUM_REQUESTS - 1)
        run(tmp_path / "anew", corpus, given, ONE)
    tables = [pq.read_table(tmp_path / name / "judgments.parquet") for name in ("anew", "again")]
    assert tables[0].equals(tables[1])


def test_a_request_that_fails_again_is_published_as_a_failure(tmp_path: Path, corpus: Path) -> None:
    """Its answer is the only one of this run, which would otherwise count as an endpoint that answers nothing."""
    server = Moody(prose_every=24)
    with endpoint(server) as url:
        given = settings("endpoint", base_url=url, max_concurrency=1)
        run(tmp_path / "first", corpus, given, ONE, responses=tmp_path / "r")
        (failed,) = server.prose
        server.prose_every, server.asked, server.prose = 1, [], set()
        counts = run(tmp_path / "again", corpus, given | {"retry_failed": True}, ONE, responses=tmp_path / "r")
    assert (counts["failed_requests"], counts["found_again"]) == (1, NUM_REQUESTS - 1)
    assert server.asked == [failed]


def test_a_run_stops_when_nothing_but_failures_comes_any_more(tmp_path: Path, corpus: Path) -> None:
    answered = 0

    def answer(call: dict[str, Any]) -> web.Response:
        nonlocal answered
        answered += 1
        if answered > 20 and going_wrong:
            return respond({"error": {"message": "something new"}}, 400)
        return respond(logprob_reply({"A": -0.5, "B": -1.0}))

    going_wrong = True
    with endpoint(answer) as url:
        given = settings("endpoint", base_url=url, num_pairs=100, max_concurrency=1)
        with pytest.raises(StageError, match=r"44 requests in a row \(HTTP 400: something new\)"):
            run(tmp_path / "o", corpus, given, ONE)
        assert answered == 20 + 44
        answered, going_wrong = 0, False
        assert run(tmp_path / "o", corpus, given, ONE)["failed_requests"] == 0
    assert answered == 200 - 20


def test_a_batch_of_nothing_but_prose_stops_the_run_and_is_asked_again(tmp_path: Path, corpus: Path) -> None:
    prose, good = logprob_reply({"Sorry": -0.01}), logprob_reply({"A": -0.5, "B": -1.0})
    server = BatchServer(lambda body: (200, prose))
    server.online = lambda body: (200, good)
    with server.serving() as url:
        given = settings("endpoint", base_url=url, num_pairs=50, transport="batch", poll_seconds=0.01)
        with pytest.raises(StageError, match="99 requests in a row"):
            run(tmp_path / "o", corpus, given, ONE)
        assert server.sizes() == [99]
        with pytest.raises(StageError, match="in a row"):  # a second round is paid only because it was asked for
            run(tmp_path / "o", corpus, given, ONE)
        server.answer = lambda body: (200, good)
        assert run(tmp_path / "o", corpus, given, ONE)["failed_requests"] == 0
    assert server.sizes() == [99, 99, 99]
    assert read_json(tmp_path / "o" / "summary.json")["failed"] == {}


def test_the_key_is_in_no_file_whatever_the_endpoint_quotes(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    key = "sk-very-secret-0123456789/abc"
    monkeypatch.setenv("MY_KEY", key)
    server = Moody(prose_every=None)

    def quoting(body: dict[str, Any], header: str) -> tuple[int, Any]:
        """An error, a refusal, an answer without a label and an error within an answer, each with the header."""
        reply = server.reply(body)
        number = len(server.asked)
        said = {"error": {"message": f"no, {header}", "type": header}}
        prose = {"choices": [{"message": {"content": header}, "logprobs": None}]}
        refusal = {"choices": [{"message": {"content": None, "refusal": header[3:-3]}}]}
        return {5: (400, said), 6: (200, prose), 7: (200, refusal), 8: (422, {"detail": header})}.get(
            number, (200, reply)
        )

    def online(call: dict[str, Any]) -> web.Response:
        status, body = quoting(call["body"], call["headers"]["Authorization"])
        return respond(json.dumps(body).replace("/", "\\/"), status)

    given = settings("endpoint", api_key_variable="MY_KEY", max_concurrency=1, max_failed_fraction=0.5)
    with endpoint(online) as url:
        assert run(tmp_path / "o", corpus, given | {"base_url": url}, ONE)["failed_requests"] == 4
    server.asked = []
    batches = BatchServer(lambda body: quoting(body, f"Bearer {key}"))
    with batches.serving() as url:
        given |= {"base_url": url, "transport": "batch", "poll_seconds": 0.01}
        assert run(tmp_path / "b", corpus, given, ONE)["failed_requests"] == 4
        batches.refuse = lambda lines: {"code": "bad", "message": f"no, {key}"}
        with pytest.raises(StageError) as stopped:
            run(tmp_path / "c", corpus, given, ONE)
    written = {file: file.read_bytes() for file in tmp_path.rglob("*") if file.is_file()}
    assert {file.name for file in written} >= {"failures.jsonl", "summary.json", "report.html"}
    assert [file for file in written if file.parent.name.endswith("-responses") and b"***" in file.read_bytes()]
    assert "***" in (tmp_path / "o" / "failures.jsonl").read_text()
    printed = "".join(capfd.readouterr())
    for secret in (key, key[3:-3], key.replace("/", "\\/")):
        assert not [file for file, content in written.items() if secret.encode() in content]
        assert secret not in str(stopped.value)
        assert secret not in printed
