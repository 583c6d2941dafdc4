"""Requests through a Batch API, which a local server imitates: failed lines, restarts, caps, full queues."""

import asyncio
import json
import math
import random
import signal
import subprocess
import sys
import threading
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from aiohttp import web
from batch_fixtures import BatchServer
from endpoint_client import endpoint_at
from judge_fixtures import CRITERIA, endpoint, logprob_reply, real_corpus, respond
from judge_stage import KILLED, run, settings

from qurating.artifacts.files import read_json
from qurating.judging.endpoint.base import Request
from qurating.judging.endpoint.batch_files import Limits
from qurating.judging.endpoint.batch_log import BatchLog
from qurating.judging.endpoint.batches import Batches
from qurating.judging.endpoint.costs import CapReachedError, Price, Spending, prompt_limit
from qurating.judging.endpoint.replies import AnswerError
from qurating.judging.endpoint.response_log import Answer, ResponseLog
from qurating.runtime.errors import StageError


def requests(number: int = 25) -> list[Request]:
    made = [{"role": "user", "content": f"question {i} " + "word " * 20} for i in range(number)]
    return [Request(i, {"model": "m", "max_tokens": 1, "messages": [message]}) for i, message in enumerate(made)]


def number_of(body: dict[str, Any]) -> int:
    return int(body["messages"][0]["content"].split()[1])


def value(body: dict[str, Any]) -> tuple[int, Any]:
    usage = {"prompt_tokens": prompt_limit(body) // 4, "completion_tokens": 1}
    return 200, {"value": number_of(body), "usage": usage}


def parse(reply: Any) -> list[float]:
    if "value" not in reply:
        raise AnswerError("prose")
    return [float(reply["value"])]


def ask(
    url: str, folder: Path, limits: Limits | None = None, price: Price | None = None, cap: float | None = None
) -> dict[int, Answer]:
    found: dict[int, Answer] = {}

    async def asked() -> None:
        response_log = ResponseLog(folder / "journal.jsonl", remember=True)
        spending = Spending(price, cap, response_log.prompt_tokens, response_log.completion_tokens)
        log, given = BatchLog(folder / "b.jsonl"), limits or Limits(10, 10**6, 0.01)
        batches = Batches(endpoint_at(url), response_log, spending, log, given, lambda said: None)

        def record(position: int, answer: Answer) -> None:
            assert position not in found
            found[position] = answer

        try:
            await batches.ask_all(requests, parse, record)
            assert spending.reserved_usd == pytest.approx(0)
        finally:
            response_log.close()

    asyncio.run(asked())
    return found


def values(found: dict[int, Answer]) -> dict[int, Any]:
    return {position: answer.values and answer.values[0] for position, answer in found.items()}


def test_files_stay_within_the_limits_of_requests_and_bytes(tmp_path: Path) -> None:
    server = BatchServer(value)
    with server.serving() as url:
        assert values(ask(url, tmp_path)) == {i: i for i in range(25)}
        assert server.sizes() == [10, 10, 5]
        (tmp_path / "bytes").mkdir()
        ask(url, tmp_path / "bytes", Limits(10**6, 2000, 0.01))
        sent = [len(server.files[batch["input_file_id"]]) for batch in list(server.batches.values())[3:]]
    assert len(sent) > 2
    assert max(sent) <= 2000
    assert min(sent[:-1]) > 1500  # and they are filled


def test_failed_lines_are_sent_again_and_those_that_fail_for_good_are_recorded(tmp_path: Path) -> None:
    tries: Counter[int] = Counter()

    def answer(body: dict[str, Any]) -> tuple[int, Any] | None:
        i = number_of(body)
        tries[i] += 1
        if i == 3:
            return 400, {"error": {"message": "content filter"}}
        if i in (5, 6) and tries[i] <= 2:
            return None if i == 5 else (500, {"error": {"message": "sorry"}})
        if i == 9:
            return 500, {}
        return value(body) if i != 8 else (200, {"choices": []})

    server = BatchServer(answer)
    with server.serving() as url:
        found = ask(url, tmp_path)
    assert found[3][:3] == (None, "content filter (HTTP 400)", "content filter")
    assert found[8].reason == "prose"
    assert found[9].reason == "no answer in 4 batches"
    assert {i for i, answer in found.items() if answer.values is None} == {3, 8, 9}
    assert server.sizes()[:4] == [10, 10, 5, 3]


@pytest.mark.parametrize(("status", "message"), [(403, "flagged"), (403, "no"), (404, "no provider")])
def test_one_refused_line_of_a_batch_is_recorded_and_stops_nothing(tmp_path: Path, status: int, message: str) -> None:
    server = BatchServer(
        lambda body: (status, {"error": {"message": message}}) if number_of(body) == 4 else value(body)
    )
    with server.serving() as url:
        found = ask(url, tmp_path)
    assert values(found) == {i: None if i == 4 else i for i in range(25)}
    assert found[4].detail == message
    assert server.sizes() == [10, 10, 5]


def test_lines_refused_for_lack_of_credits_stop_the_run_after_the_others_are_read(tmp_path: Path) -> None:
    broke = True
    error = {"error": {"message": "You exceeded your quota", "code": "insufficient_quota"}}
    server = BatchServer(lambda body: (429, error) if broke and number_of(body) % 2 else value(body))
    with server.serving() as url:
        with pytest.raises(StageError, match=r"quota is used up .*You exceeded"):
            ask(url, tmp_path)
        broke = False
        assert values(ask(url, tmp_path)) == {i: i for i in range(25)}
    assert server.sizes() == [10, 10, 5, 10, 2]


def test_errors_within_lines_of_status_200_are_sent_again_and_kept_in_their_words(tmp_path: Path) -> None:
    tries: Counter[int] = Counter()

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        number = number_of(body)
        tries[number] += 1
        if number == 9 or (number == 3 and tries[3] <= 2):
            return 200, {"error": {"message": "overloaded", "code": "503"}}
        return value(body)

    with BatchServer(answer).serving() as url:
        found = ask(url, tmp_path)
    assert found[3].values == [3.0]
    assert found[9][:3] == (None, "no answer in 4 batches", "error 503 within HTTP 200: overloaded")


def test_a_restart_takes_up_batches_by_their_ids_and_makes_none_twice(tmp_path: Path) -> None:
    server = BatchServer(value)
    server.polls_until_done = 10**9
    with server.serving() as url:
        with pytest.raises(TimeoutError):  # stopped while it waits for the batches
            asyncio.run(asyncio.wait_for(asyncio.to_thread(ask_until_polled, url, tmp_path, server), 5))
        assert len(server.batches) == 3
        server.polls_until_done, server.down = 1, False
        assert values(ask(url, tmp_path)) == {i: i for i in range(25)}
        assert len(server.batches) == 3
        ask(url, tmp_path)  # all answers are in the response log
        assert len(server.batches) == 3


def ask_until_polled(url: str, folder: Path, server: BatchServer) -> None:
    server.down = True  # refuses the first poll: as a kill would, this ends the run with all batches out
    with pytest.raises(StageError, match="run the same command again"):
        ask(url, folder)
    raise TimeoutError


def test_a_batch_made_just_before_a_kill_is_found_again_by_its_mark(tmp_path: Path) -> None:
    server = BatchServer(value)
    with server.serving() as url:
        ask(url, tmp_path)
        lines = (tmp_path / "b.jsonl").read_bytes().splitlines(keepends=True)
        # neither ids nor answers were written, and the last line is incomplete
        kept = [line for line in lines if b'"num_requests"' in line]
        (tmp_path / "b.jsonl").write_bytes(b"".join(kept) + b'{"digest": "0')
        (tmp_path / "journal.jsonl").unlink()
        assert values(ask(url, tmp_path)) == {i: i for i in range(25)}
        assert len(server.batches) == 3
        # and one that was written down but never made is made
        (tmp_path / "b.jsonl").write_bytes(b"".join(kept))
        (tmp_path / "journal.jsonl").unlink()
        server.batches.clear()
        assert values(ask(url, tmp_path)) == {i: i for i in range(25)}
    assert sum(server.sizes()) == 25


def test_the_cap_holds_and_a_higher_one_goes_on(tmp_path: Path) -> None:
    server = BatchServer(value)
    price = Price(1000.0, 0.0, "test")
    most = price.usd(prompt_limit(requests()[0].body), 1)
    with server.serving() as url:
        with pytest.raises(CapReachedError, match=r"judge\.max_cost_usd"):
            ask(url, tmp_path, price=price, cap=3.5 * most)
        response_log = ResponseLog(tmp_path / "journal.jsonl")
        spent, so_far = price.usd(response_log.prompt_tokens, 0), len(response_log)
        response_log.close()
        assert 2.5 * most < spent <= 3.5 * most
        assert 10 <= so_far < 25
        assert values(ask(url, tmp_path, price=price)) == {i: i for i in range(25)}
    assert sum(server.sizes()) == 25


@pytest.mark.parametrize("usage", [{}, {"usage": None}, {"usage": {"prompt_tokens": 0, "completion_tokens": 0}}])
def test_the_cap_holds_where_no_usage_is_reported(tmp_path: Path, usage: dict[str, Any]) -> None:
    """The upper bound counts, as for single calls; a rerun reads it from the log."""
    server = BatchServer(lambda body: (200, {"value": number_of(body)} | usage))
    price = Price(1000.0, 0.0, "test")
    most = price.usd(prompt_limit(requests()[0].body), 1)
    with server.serving() as url:
        for _ in range(2):
            with pytest.raises(CapReachedError, match=r"no room for another batch: \$"):
                ask(url, tmp_path, price=price, cap=3.5 * most)
    assert server.sizes() == [3]
    response_log = ResponseLog(tmp_path / "journal.jsonl")
    assert response_log.prompt_tokens == sum(prompt_limit(request.body) for request in requests()[:3])
    response_log.close()


@pytest.mark.parametrize("tokens_a_byte", [0.01, 0.3, 1.0])
def test_the_cap_holds_when_later_texts_take_more_tokens(tmp_path: Path, tokens_a_byte: float) -> None:
    """The first batch is cheap, those after it at the bound: what was seen so far says nothing about them."""
    price = Price(1000.0, 0.0, "test")
    sizes = [prompt_limit(request.body) for request in requests()]
    paid: dict[int, int] = {}

    def dearer(body: dict[str, Any]) -> tuple[int, Any]:
        number = number_of(body)
        paid[number] = int(prompt_limit(body) * (tokens_a_byte if number < 5 else 1.0))
        return 200, {"value": number, "usage": {"prompt_tokens": paid[number], "completion_tokens": 0}}

    cap = price.usd(sum(sizes) / 2, 0)
    with BatchServer(dearer).serving() as url, pytest.raises(CapReachedError, match=r"no room for another batch"):
        ask(url, tmp_path, price=price, cap=cap)
    assert 0.95 * cap - price.usd(max(sizes), 0) < price.usd(sum(paid.values()), 0) <= cap


def test_a_full_queue_is_waited_for_and_one_too_small_is_said(tmp_path: Path) -> None:
    server = BatchServer(value)
    error = {"code": "token_limit_exceeded", "message": "Enqueued token limit reached"}
    refused: list[int] = []

    def refuse(lines: list[Any]) -> dict[str, str] | None:
        if len(refused) < 1:
            refused.append(len(lines))
            return error
        return None

    server.refuse = refuse
    with server.serving() as url:
        assert values(ask(url, tmp_path)) == {i: i for i in range(25)}
        server.refuse = lambda lines: error
        (tmp_path / "small").mkdir()
        with pytest.raises(StageError, match=r"no room for a batch.*judge.max_batch_requests"):
            ask(url, tmp_path / "small")
        server.refuse = lambda lines: {"code": "invalid_model", "message": "no such model"}
        (tmp_path / "model").mkdir()
        with pytest.raises(StageError, match=r"refuses the batch.*no such model"):
            ask(url, tmp_path / "model")


def test_an_endpoint_without_batches_says_so(tmp_path: Path) -> None:
    with endpoint(lambda call: respond({})) as url, pytest.raises(StageError, match=r"judge\.base_url"):
        ask(url, tmp_path)


def test_the_stage_by_batches_is_the_stage_online(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "qurating.reports.style.save", lambda figure, path: path.parent.mkdir(exist_ok=True) or "<svg/>"
    )
    corpus = real_corpus(tmp_path / "c", 30)

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        p = (len(body["messages"][1]["content"]) % 97 + 0.5) / 98
        usage = {"prompt_tokens": 200, "completion_tokens": 1}
        return 200, logprob_reply({"A": math.log(1 - p), "B": math.log(p)}) | {"usage": usage}

    server = BatchServer(answer)
    one = {"educational_value": CRITERIA["educational_value"]}
    tables, costs = [], []
    with server.serving() as url:
        for transport in ("online", "batch"):
            given = settings("endpoint", base_url=url, transport=transport, poll_seconds=0.01, max_batch_requests=9)
            run(tmp_path / transport, corpus, given | {"usd_per_million_tokens": [1, 1]}, one)
            tables.append(pq.read_table(tmp_path / transport / "judgments.parquet"))
            costs.append(read_json(tmp_path / transport / "costs.json")["actual"]["usd"])
    assert tables[0].equals(tables[1])
    assert costs[1] == pytest.approx(costs[0] / 2)
    assert server.sizes() == [9, 9, 5]  # the probe has answered the first
    assert not (tmp_path / "batch" / "batches.jsonl").exists()


def test_going_on_by_batches_counts_what_was_paid_before_at_its_price(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setattr(
        "qurating.reports.style.save", lambda figure, path: path.parent.mkdir(exist_ok=True) or "<svg/>"
    )
    corpus = real_corpus(tmp_path / "c", 30)
    reply = logprob_reply({"A": -0.3, "B": -1.4}) | {"usage": {"prompt_tokens": 1000, "completion_tokens": 0}}
    server = BatchServer(lambda body: (200, reply))
    one = {"educational_value": CRITERIA["educational_value"]}
    with server.serving() as url:
        given = settings("endpoint", base_url=url, poll_seconds=0.01, usd_per_million_tokens=[1000, 0])
        with pytest.raises(CapReachedError):
            run(tmp_path / "o", corpus, given | {"max_cost_usd": 8.0}, one)
        num_online = (tmp_path / "o" / "journal.jsonl").read_bytes().count(b"\n")
        assert 4 <= num_online <= 8
        counts = run(tmp_path / "o", corpus, given | {"transport": "batch"}, one)
    assert counts["usd"] == pytest.approx(num_online * 1.0 + (24 - num_online) * 0.5)


class Watched(BatchServer):
    """Counts its requests, and answers request number `fatal` after a second, too late for a client that is killed."""

    def __init__(self, answer: Any) -> None:
        super().__init__(answer)
        self.fatal, self.num_asked, self.is_time = 0, 0, threading.Event()

    async def late(self, response: web.Response) -> web.Response:
        self.num_asked += 1
        if self.num_asked == self.fatal:
            self.is_time.set()
            await asyncio.sleep(1.0)
        return response

    async def upload(self, request: web.Request) -> web.Response:
        return await self.late(await super().upload(request))

    async def create(self, request: web.Request) -> web.Response:
        return await self.late(await super().create(request))

    async def retrieve(self, request: web.Request) -> web.Response:
        return await self.late(await super().retrieve(request))

    async def content(self, request: web.Request) -> web.Response:
        return await self.late(await super().content(request))


def test_a_run_by_batches_killed_at_any_request_pays_for_nothing_twice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "qurating.reports.style.save", lambda figure, path: path.parent.mkdir(exist_ok=True) or "<svg/>"
    )
    corpus = real_corpus(tmp_path / "c", 30)

    def answer(body: dict[str, Any]) -> tuple[int, Any]:
        p = (len(body["messages"][1]["content"]) % 97 + 0.5) / 98
        return 200, logprob_reply({"A": math.log(1 - p), "B": math.log(p)})

    one = {"educational_value": CRITERIA["educational_value"]}
    server = Watched(answer)
    with server.serving() as url:
        given = settings("endpoint", base_url=url, transport="batch", poll_seconds=0.01, max_batch_requests=9)
        run(tmp_path / "whole", corpus, given, one)
        # 3 batches of 9, 9 and 5: an upload, a creation, a poll at least and a file of answers each
        server.fatal = fatal = random.randint(1, 12)
        server.batches, server.num_asked = {}, 0
        output = tmp_path / "killed"
        output.mkdir()
        arguments = {"output": str(output), "corpus": str(corpus), "criteria": one, "judge": given}
        process = subprocess.Popen([sys.executable, "-c", KILLED, json.dumps(arguments)], stderr=subprocess.DEVNULL)
        assert server.is_time.wait(60)
        process.send_signal(signal.SIGKILL)
        process.wait()
        server.fatal = 0
        run(output, corpus, given, one)
        sent = [json.loads(line) for batch in server.batches.values()
                for line in server.files[batch["input_file_id"]].splitlines()]  # fmt: skip
    said = f"killed at request {fatal}"
    twice = Counter(json.dumps(line["body"], sort_keys=True) for line in sent)
    assert max(twice.values()) == 1, said
    assert len(sent) == 23, said  # the probe has answered one
    for name in ("judgments.parquet", "summary.json"):
        assert (output / name).read_bytes() == (tmp_path / "whole" / name).read_bytes(), said
