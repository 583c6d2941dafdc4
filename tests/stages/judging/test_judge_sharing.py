"""Answers are found again whatever they were asked for: requests are counted at the server."""

import asyncio
import contextlib
import json
import math
import os
import shutil
import signal
import subprocess
import sys
import threading
import zlib
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from aiohttp import web
from batch_fixtures import BatchServer
from judge_fixtures import CRITERIA, EXPLANATION, LICENCE, endpoint, logprob_reply, make_corpus, respond
from judge_stage import KILLED, run, settings

from qurating.artifacts.files import read_json
from qurating.judging.servers import local

ONE = {"educational_value": CRITERIA["educational_value"]}
TWO = ONE | {"writing_style": CRITERIA["writing_style"]}


pytestmark = pytest.mark.usefixtures("quick_figures")


class Counting:
    """Answers by the request, and counts equal requests."""

    def __init__(self, model: str = "m-2026-01-01") -> None:
        self.model = model
        self.asked: Counter[str] = Counter()

    def reply(self, body: dict[str, Any]) -> dict[str, Any]:
        text = json.dumps(body, sort_keys=True)
        self.asked[text] += 1
        p = (zlib.crc32(text.encode()) % 999 + 0.5) / 1000
        usage = {"prompt_tokens": 100, "completion_tokens": 1}
        return logprob_reply({"A": math.log(1 - p), "B": math.log(p)}) | {"model": self.model, "usage": usage}

    def __call__(self, call: dict[str, Any]) -> web.Response:
        return respond(self.reply(call["body"]))

    def new(self) -> int:
        """The number of requests since the last call; none was asked before."""
        assert set(self.asked.values()) <= {1}
        found = len(self.asked) - getattr(self, "_before", 0)
        self._before = len(self.asked)
        return found


def rows(output: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(output / "judgments.parquet").to_pylist()
    return found


def test_a_larger_run_and_another_criterion_ask_only_what_is_new(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server, responses = Counting(), tmp_path / "responses"
    with endpoint(server) as url:
        given = settings("endpoint", base_url=url, usd_per_million_tokens=[1000.0, 0.0], triple_fraction=0.2)
        run(tmp_path / "20", corpus, given | {"num_pairs": 20}, TWO, responses=responses)
        assert server.new() == 20 * 2 * 2
        capsys.readouterr()
        counts = run(tmp_path / "60", corpus, given | {"num_pairs": 60}, TWO, responses=responses)
        assert server.new() == 40 * 2 * 2
        assert (counts["requests"], counts["found_again"]) == (240, 80)
        assert counts["usd"] == pytest.approx(160 * 0.1)  # what was found again is not paid
        said = capsys.readouterr().out
        assert "found again: 80 answers of earlier runs; to ask: 160 calls, about" in said
        assert "160 asked, 80 found again; answered by m-2026-01-01, 20" in said
        assert rows(tmp_path / "60")[:20] == rows(tmp_path / "20")
        more = TWO | {"required_expertise": CRITERIA["required_expertise"]}
        counts = run(tmp_path / "more", corpus, given | {"num_pairs": 60}, more, responses=responses)
        assert server.new() == 60 * 2
        assert counts["found_again"] == 240
        less = run(tmp_path / "less", corpus, given | {"num_pairs": 10, "max_cost_usd": 0.0}, ONE, responses=responses)
        assert server.new() == 0
        assert (less["found_again"], less["usd"]) == (20, 0.0)
    summary, costs = (read_json(tmp_path / "60" / f"{name}.json") for name in ("summary", "costs"))
    assert costs["actual"]["num_calls"] == costs["estimate"]["num_calls"] == 160
    ((model, number),) = [(found["model"], found["num_answers"]) for found in summary["models"]]
    assert (model, number) == ("m-2026-01-01", 240)
    report = (tmp_path / "60" / "report.html").read_text()
    assert "160 requests were asked for these judgments; 80 answers of earlier runs were found again" in report
    assert "answered by m-2026-01-01: 240 answers, 20" in report
    free = (tmp_path / "less" / "report.html").read_text()
    assert "2 calls; all answers were found again, so that the price is not known" in free
    assert len(list(responses.glob("*.jsonl"))) == 3  # the last run had nothing to write


def test_renamed_deleted_and_unfinished_judgments_are_not_paid_for_again(tmp_path: Path, corpus: Path) -> None:
    server, responses = Counting(), tmp_path / "responses"
    with endpoint(server) as url:
        given = settings("endpoint", base_url=url, usd_per_million_tokens=[1000.0, 0.0])
        first = run(tmp_path / "o", corpus, given, ONE, responses=responses)
        assert server.new() == 24
        paid = contents(tmp_path / "o")
        run(tmp_path / "another", corpus, given, ONE, responses=responses)
        shutil.rmtree(tmp_path / "o")
        counts = run(tmp_path / "o", corpus, given, ONE, responses=responses)
        assert server.new() == 0
    assert (first["usd"], counts["usd"]) == (pytest.approx(2.4), 0.0)
    # what counts in the fingerprint is the same, whatever was paid: what was made from the judgments stays valid
    found = contents(tmp_path / "o")
    assert {name for name in paid if paid[name] != found[name]} == {"costs.json", "report.html"}
    assert set(counts["records"]) == {"costs.json", "report.html"}
    assert contents(tmp_path / "another") == found


def contents(folder: Path) -> dict[str, bytes]:
    return {file.relative_to(folder).as_posix(): file.read_bytes() for file in folder.rglob("*") if file.is_file()}


def test_what_changes_the_answer_is_asked_again(tmp_path: Path, corpus: Path) -> None:
    server, other, responses = Counting(), Counting(), tmp_path / "responses"
    with endpoint(server) as url, endpoint(other) as elsewhere:
        given = settings("endpoint", base_url=url, num_pairs=3)
        changes: list[dict[str, Any]] = [
            {},
            {"temperature": 0.5},
            {"request_options": {"top_p": 0.9}},
            {"model": "another"},
        ]
        for number, change in enumerate(changes):
            run(tmp_path / str(number), corpus, given | change, ONE, responses=responses)
            assert server.new() == 6
        run(tmp_path / "seed", corpus, given, ONE, seed=2, responses=responses)
        assert server.new() == 6
        run(tmp_path / "elsewhere", corpus, given | {"base_url": elsewhere}, ONE, responses=responses)
        assert other.new() == 6
        azure = {"api": "azure", "base_url": url.removesuffix("/v1"), "api_key_variable": None}
        for version in ("2024-06-01", "2024-10-21"):
            run(tmp_path / version, corpus, given | azure | {"api_version": version}, ONE, responses=responses)
        assert set(server.asked.values()) == {1, 3}  # those two ask what the first one asked


def test_answers_can_be_asked_anew_and_the_newest_count_later(tmp_path: Path, corpus: Path) -> None:
    server, responses = Counting(), tmp_path / "responses"
    with endpoint(server) as url:
        given = settings("endpoint", base_url=url, num_pairs=4)
        run(tmp_path / "first", corpus, given, ONE, responses=responses)
        server.model = "m-2026-06-01"
        for log in responses.glob("*.jsonl"):
            log.rename(responses / f"2000-{log.name}")  # otherwise both begin with the same second
        counts = run(tmp_path / "anew", corpus, given | {"reuse_answers": False}, ONE, responses=responses)
        assert set(server.asked.values()) == {2}
        assert counts["found_again"] == 0
        run(tmp_path / "later", corpus, given, ONE, responses=responses)
        assert set(server.asked.values()) == {2}
        found = {
            name: {each["model"]: each["num_answers"] for each in read_json(tmp_path / name / "summary.json")["models"]}
            for name in ("first", "anew", "later")
        }
        assert found == {"first": {"m-2026-01-01": 8}, "anew": {"m-2026-06-01": 8}, "later": {"m-2026-06-01": 8}}
        server.model = "m-2027-01-01"
        run(tmp_path / "more", corpus, given | {"num_pairs": 5}, ONE, responses=responses)
    models = read_json(tmp_path / "more" / "summary.json")["models"]
    assert [(each["model"], each["num_answers"]) for each in models] == [("m-2026-06-01", 8), ("m-2027-01-01", 2)]


def test_no_vote_counts_twice(tmp_path: Path) -> None:
    """Of equal requests each has an answer of its own, in every run the same; more votes ask only for those."""
    # 512 tokens hold a whole text, so that equal texts make equal requests
    texts = [f"{EXPLANATION} {number}" for number in range(3)] * 2
    corpus = make_corpus(tmp_path / "c", {"d": texts})
    asked: Counter[str] = Counter()

    def answer(call: dict[str, Any]) -> web.Response:
        text = json.dumps(call["body"])
        asked[text] += 1
        return respond({"choices": [{"message": {"content": str(asked[text])}}]})

    responses = tmp_path / "responses"
    with endpoint(answer) as url:
        given = settings("endpoint", base_url=url, num_pairs=3, mode="individual", max_concurrency=1)
        given |= {"prompt": "conf/prompts/individual.txt", "method": "separate_votes", "max_snippet_tokens": 512}
        for name, num_votes, num_asked in (("two", 2, 4), ("again", 2, 4), ("four", 4, 8)):
            run(tmp_path / name, corpus, given | {"num_votes": num_votes}, ONE, responses=responses)
            assert asked == dict.fromkeys(asked, num_asked)  # three texts that occur twice
    grades: dict[str, dict[str, list[list[int]]]] = {}
    for name in ("two", "again", "four"):
        for row in pq.read_table(tmp_path / name / "grades.parquet").to_pylist():
            grades.setdefault(name, {}).setdefault(row["text"], []).append(row["educational_value_grades"])
    assert len(grades["two"]) == 3
    assert all(of_text == [[1, 2], [3, 4]] for of_text in grades["two"].values())
    assert grades["again"] == grades["two"]
    assert all(sorted(of_text[0] + of_text[1]) == list(range(1, 9)) for of_text in grades["four"].values())


def test_batches_and_single_calls_find_each_other_s_answers(tmp_path: Path, corpus: Path) -> None:
    single, in_batches = Counting(), Counting()
    server = BatchServer(lambda body: (200, in_batches.reply(body)))
    server.online = lambda body: (200, single.reply(body))
    with server.serving() as url:
        given = settings("endpoint", base_url=url, poll_seconds=0.01)
        batch = given | {"transport": "batch"}
        run(tmp_path / "single", corpus, given | {"num_pairs": 4}, ONE, responses=tmp_path / "r")
        assert single.new() == 8
        counts = run(tmp_path / "batch", corpus, batch | {"num_pairs": 7}, ONE, responses=tmp_path / "r")
        assert (server.sizes(), counts["found_again"]) == ([6], 8)
        counts = run(tmp_path / "all", corpus, given | {"num_pairs": 7}, ONE, responses=tmp_path / "r")
        assert (single.new(), counts["found_again"]) == (0, 14)
        run(tmp_path / "none", corpus, batch | {"num_pairs": 7}, ONE, responses=tmp_path / "r")
        assert (single.new(), len(server.batches)) == (0, 1)
    tables = [(tmp_path / name / "judgments.parquet").read_bytes() for name in ("batch", "all", "none")]
    assert tables[0] == tables[1] == tables[2]


def test_two_processes_at_once_one_of_which_is_killed(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each writes its own log. Then another run asks what neither has written, and a line cut short is told."""
    server, is_time, go_on = Counting(), threading.Event(), threading.Event()
    question = CRITERIA["writing_style"]["question"]
    num_of_killed = 0

    async def answer(call: dict[str, Any]) -> web.Response:
        nonlocal num_of_killed
        reply = server.reply(call["body"])
        if question in json.dumps(call["body"]):
            num_of_killed += 1
            if num_of_killed > 10:
                is_time.set()
                await asyncio.get_running_loop().run_in_executor(None, go_on.wait, 60)
        return respond(reply)

    responses = tmp_path / "responses"
    with endpoint(answer) as url:
        given = settings("endpoint", base_url=url, max_concurrency=8)
        processes = []
        for name in TWO:
            (tmp_path / name).mkdir()
            arguments = {"output": str(tmp_path / name), "corpus": str(corpus), "criteria": {name: TWO[name]}}
            arguments |= {"judge": given, "responses": str(responses)}
            command = [sys.executable, "-c", KILLED, json.dumps(arguments)]
            processes.append(subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        assert is_time.wait(120)
        os.kill(processes[1].pid, signal.SIGKILL)
        processes[1].wait()
        go_on.set()
        assert processes[0].wait(120) == 0
        log = (tmp_path / "writing_style" / "journal.jsonl").resolve()
        written = log.read_bytes().count(b'"reply":')
        shutil.rmtree(tmp_path / "writing_style")
        with open(log, "ab") as stream:
            stream.write(b'{"key":"12ab')
        before = sum(server.asked.values())
        counts = run(tmp_path / "both", corpus, given, TWO, responses=responses)
        assert sum(server.asked.values()) - before == 24 - written
        assert counts["found_again"] == 24 + written
    assert "1 lines of the response logs are incomplete or were changed" in capsys.readouterr().out
    run_anew = tmp_path / "anew"
    with endpoint(lambda call: respond(server.reply(call["body"]))) as url:
        run(run_anew, corpus, given | {"base_url": url}, TWO)
    assert (run_anew / "judgments.parquet").read_bytes() == (tmp_path / "both" / "judgments.parquet").read_bytes()


def test_a_local_model_is_known_by_its_file_and_not_by_its_port(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = Counting()

    @contextlib.contextmanager
    def serving(*_: Any) -> Iterator[str]:
        with endpoint(server) as url:  # another port each time
            yield url

    monkeypatch.setattr(local, "serving", serving)
    monkeypatch.setattr("importlib.metadata.version", lambda name: f"1.0 of {name}")
    model = tmp_path / "model.gguf"
    num_asked = []
    for name, content in (("first", b"GGUF one"), ("again", b"GGUF one"), ("other", b"GGUF two")):
        model.write_bytes(content)
        run(tmp_path / name, corpus, settings("local", gguf=str(model), num_pairs=3), ONE, responses=tmp_path / "r")
        num_asked.append(sum(server.asked.values()))
    assert num_asked == [6, 6, 12]


def test_a_simulated_judge_shares_nothing(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "c", {"d": [EXPLANATION, LICENCE]})
    counts = run(tmp_path / "o", corpus, settings(num_pairs=1), ONE, responses=tmp_path / "responses")
    assert not (tmp_path / "responses").exists()
    assert "found_again" not in counts
    assert "models" not in read_json(tmp_path / "o" / "summary.json")
