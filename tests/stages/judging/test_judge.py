"""The judge stage from a corpus to judgments, with the simulated judge and with endpoints that misbehave."""

import asyncio
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from aiohttp import web
from judge_fixtures import (
    CRITERIA,
    EXPLANATION,
    LICENCE,
    endpoint,
    logprob_reply,
    make_corpus,
    real_corpus,
    respond,
    votes_reply,
)
from judge_stage import KILLED, run, settings

from qurating.artifacts.files import read_json
from qurating.judging.settings import JudgeSettings
from qurating.runtime.errors import StageError
from qurating.stages.judging.judge import _described, _endpoint


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return real_corpus(tmp_path_factory.mktemp("corpus") / "c")


@pytest.fixture(autouse=True)
def _quick_figures(monkeypatch: pytest.MonkeyPatch) -> None:
    """Figures are built but not drawn: drawing takes a second, and test_summary.py tests it."""
    monkeypatch.setattr(
        "qurating.reports.style.save", lambda figure, path: path.parent.mkdir(exist_ok=True) or "<svg/>"
    )


def test_simulated_judgments_from_end_to_end(tmp_path: Path, corpus: Path) -> None:
    counts = run(tmp_path / "o", corpus, settings())
    assert counts["labels"] == ["simulated judge"]
    assert counts["pairs"] == 12
    assert counts["requests"] == 12 * 4 * 2
    assert counts["failed_requests"] == 0
    assert sorted(file.name for file in (tmp_path / "o").iterdir()) == [
        "costs.json",
        "judgments.parquet",
        "plots",
        "report.html",
        "summary.json",
    ]
    table = pq.read_table(tmp_path / "o" / "judgments.parquet")
    expected = {"texts", "indices", "domains", "method"}
    expected |= {f"{c}_{kind}" for c in CRITERIA for kind in ("votes_a", "votes_b", "average")}
    assert set(table.column_names) == expected
    corpus_rows = {
        row["id"]: row for file in sorted((corpus / "train").iterdir()) for row in pq.read_table(file).to_pylist()
    }
    for row in table.to_pylist():
        assert row["indices"][0] != row["indices"][1]
        for text, sequence, domain in zip(row["texts"], row["indices"], row["domains"], strict=True):
            assert text in corpus_rows[sequence]["text"]
            assert corpus_rows[sequence]["domain"] == domain
        for c in CRITERIA:
            a, b, average = (np.array(row[f"{c}_{kind}"]) for kind in ("votes_a", "votes_b", "average"))
            p_ab, p_ba = (b[i, j] / (a[i, j] + b[i, j]) for i, j in [(0, 1), (1, 0)])
            assert average[0, 1] == pytest.approx((p_ab + 1 - p_ba) / 2)
            assert average[0, 1] + average[1, 0] == pytest.approx(1)
            assert average[0, 0] == average[1, 1] == a[0, 0] == b[1, 1] == -100
    summary = read_json(tmp_path / "o" / "summary.json")
    assert summary["simulated"] is True
    assert summary["method"] == "logprobs"
    assert all(found["positional_bias"] > 0 for found in summary["criteria"].values())  # 0.4 logits are set


@pytest.mark.parametrize("method", ["logprobs", "votes"])
def test_the_result_does_not_depend_on_concurrency(tmp_path: Path, corpus: Path, method: str) -> None:
    files = []
    for concurrency in (1, 16):
        output = tmp_path / str(concurrency)
        run(output, corpus, settings(method=method, max_concurrency=concurrency))
        files.append((output / "judgments.parquet").read_bytes())
    assert files[0] == files[1]


def test_what_is_too_short_is_counted_by_domain_and_told(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    counts = run(tmp_path / "o", corpus, settings(num_pairs=40))
    assert counts["sequences_too_short"] == 3
    assert counts["too_short_by_domain"] == {"short": 3}
    assert "warning: nothing is judged of short (3 of 3)" in capsys.readouterr().out
    assert read_json(tmp_path / "o" / "summary.json")["domains"]["topics"] == {"judged": 60, "too_short": 0}


def test_the_address_of_an_endpoint_is_shown_without_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("A_KEY", "sk-of-the-lab-1234")
    secret = "https://me:password@host:8000/sk-of-the-lab-1234/v1?code=hidden#part"
    given = JudgeSettings.read(settings("endpoint", base_url=secret, api_key_variable="A_KEY"))
    with _endpoint(given, CRITERIA, 1) as made:
        assert _described(given, made)["address"] == "https://host:8000/***/v1"


def test_seeds_draw_other_pairs(tmp_path: Path, corpus: Path) -> None:
    drawn = []
    for seed in (1, 2):
        run(tmp_path / str(seed), corpus, settings(num_pairs=5), seed=seed)
        drawn.append(pq.read_table(tmp_path / str(seed) / "judgments.parquet")["indices"].to_pylist())
    assert drawn[0] != drawn[1]


def test_preferences_follow_the_criterion(tmp_path: Path) -> None:
    corpus = make_corpus(tmp_path / "c", {"good": [EXPLANATION], "boilerplate": [LICENCE]})
    run(tmp_path / "o", corpus, settings(num_pairs=1, max_snippet_tokens=1000, noise=0.0))
    (row,) = pq.read_table(tmp_path / "o" / "judgments.parquet").to_pylist()
    good = row["domains"].index("good")
    assert row["educational_value_average"][1 - good][good] > 0.9


def test_a_stage_killed_midway_gives_the_same_and_asks_only_the_rest(tmp_path: Path, corpus: Path) -> None:
    asked: Counter[str] = Counter()
    slow = 0.05

    async def answer(call: dict[str, Any]) -> web.Response:
        text = json.dumps(call["body"], sort_keys=True)
        asked[text] += 1
        await asyncio.sleep(slow)
        p = (hash_of(text) % 999 + 0.5) / 1000
        return respond(logprob_reply({"A": math.log(1 - p), "B": math.log(p)}))

    with endpoint(answer) as url:
        given = settings("endpoint", base_url=url, max_concurrency=4)
        one = {"educational_value": CRITERIA["educational_value"], "writing_style": CRITERIA["writing_style"]}
        output = tmp_path / "o"
        output.mkdir()
        arguments = {"output": str(output), "corpus": str(corpus), "criteria": one, "judge": given}
        process = subprocess.Popen([sys.executable, "-c", KILLED, json.dumps(arguments)], stderr=subprocess.DEVNULL)
        log_file = output / "journal.jsonl"
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and (not log_file.exists() or log_file.read_bytes().count(b"\n") < 10):
            time.sleep(0.01)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        known = log_file.read_bytes().count(b"\n")
        assert 10 <= known < 48
        assert json.loads((output / "total.json").read_bytes()) == 48  # for python -m qurating.status
        time.sleep(0.2)  # requests in flight have been counted
        slow = 0.0
        before = sum(asked.values())
        run(output, corpus, given, one)
        assert sum(asked.values()) - before == 48 - known
        assert len(asked) == 48
        run(tmp_path / "whole", corpus, given, one)
    assert (output / "judgments.parquet").read_bytes() == (tmp_path / "whole" / "judgments.parquet").read_bytes()
    summaries = [read_json(folder / "summary.json") for folder in (output, tmp_path / "whole")]
    days = [summary.pop("models") for summary in summaries]
    assert summaries[0] == summaries[1]
    assert [model["num_answers"] for models in days for model in models] == [48, 48]


def test_sigterm_waits_for_the_calls_in_flight_and_keeps_their_answers(tmp_path: Path, corpus: Path) -> None:
    num_asked = 0
    is_time, go_on = threading.Event(), threading.Event()

    async def answer(call: dict[str, Any]) -> web.Response:
        nonlocal num_asked
        num_asked += 1
        if num_asked == 14:  # with three others in flight
            is_time.set()
        if num_asked > 10:
            await asyncio.get_running_loop().run_in_executor(None, go_on.wait, 60)
        return respond(logprob_reply({"A": -0.5, "B": -1.0}))

    with endpoint(answer) as url:
        given = settings("endpoint", base_url=url, max_concurrency=4)
        output = tmp_path / "o"
        output.mkdir()
        arguments = {"output": str(output), "corpus": str(corpus), "criteria": CRITERIA, "judge": given}
        process = subprocess.Popen([sys.executable, "-c", KILLED, json.dumps(arguments)], stderr=subprocess.PIPE)
        assert is_time.wait(60)
        process.terminate()
        with pytest.raises(subprocess.TimeoutExpired):  # it waits
            process.wait(0.5)
        go_on.set()
        _, said = process.communicate(timeout=60)
    assert b"KeyboardInterrupt" in said
    assert (output / "journal.jsonl").read_bytes().count(b"\n") == num_asked == 14


def hash_of(text: str) -> int:
    return zlib.crc32(text.encode())


def test_a_stage_killed_after_its_last_write_asks_nothing(tmp_path: Path, corpus: Path) -> None:
    counts = run(tmp_path / "o", corpus, settings(num_pairs=3))
    before = (tmp_path / "o" / "judgments.parquet").stat().st_mtime_ns
    assert run(tmp_path / "o", corpus, settings(num_pairs=3)) == counts
    assert (tmp_path / "o" / "judgments.parquet").stat().st_mtime_ns == before


def test_a_failed_order_leaves_its_place_empty_and_is_counted(tmp_path: Path, corpus: Path) -> None:
    seen: list[str] = []

    def answer(call: dict[str, Any]) -> web.Response:
        seen.append(json.dumps(call["body"]))
        if len(seen) == 4:  # pair 1, order 1
            return respond(logprob_reply({"Sorry": -0.01}))
        return respond(logprob_reply({"A": math.log(0.25), "B": math.log(0.75)}))

    one = {"educational_value": CRITERIA["educational_value"]}
    with endpoint(answer) as url:
        counts = run(tmp_path / "o", corpus, settings("endpoint", base_url=url, max_concurrency=1), one)
    assert counts["failed_requests"] == 1
    assert counts["failed_by_reason"] == {"neither label is among the likely first tokens": 1}
    assert counts["labels"] == []
    rows = pq.read_table(tmp_path / "o" / "judgments.parquet").to_pylist()
    assert rows[1]["educational_value_votes_b"] == [[-100, pytest.approx(0.75)], [-100, -100]]
    assert rows[1]["educational_value_average"] == [[-100, -100], [-100, -100]]
    assert rows[0]["educational_value_average"] == [[-100, 0.5], [0.5, -100]]
    (reason,) = read_json(tmp_path / "o" / "summary.json")["failed"].values()
    assert reason == {"num_requests": 1, "example": "the answer was 'Sorry'"}


def test_votes_are_asked_in_one_call_with_the_paper_s_options(tmp_path: Path, corpus: Path, monkeypatch: Any) -> None:
    bodies: list[dict[str, Any]] = []

    def answer(call: dict[str, Any]) -> web.Response:
        bodies.append(call["body"])
        return respond(votes_reply(*["A"] * 5, *["B"] * 15))

    monkeypatch.setenv("OPENAI_API_KEY", "sk-test")
    one = {"educational_value": CRITERIA["educational_value"]}
    with endpoint(answer) as url:
        run(tmp_path / "o", corpus, settings("openai", base_url=url, method="votes"), one)
    assert all(body["n"] == 20 and body["temperature"] == 1.0 and body["max_tokens"] == 1 for body in bodies)
    assert all(body["logit_bias"] == {"32": 100, "33": 100} and "logprobs" not in body for body in bodies)
    row = pq.read_table(tmp_path / "o" / "judgments.parquet").to_pylist()[0]
    assert row["educational_value_votes_a"] == [[-100, 5], [5, -100]]
    assert row["method"] == "votes"


def test_an_endpoint_that_is_down_keeps_the_response_log(tmp_path: Path, corpus: Path) -> None:
    given = settings("endpoint", base_url="http://127.0.0.1:9/v1")
    with pytest.raises(StageError, match=r"http://127\.0\.0\.1:9/v1 does not answer"):
        run(tmp_path / "o", corpus, given)
    (log,) = (tmp_path / "o-responses").iterdir()
    assert (tmp_path / "o" / "journal.jsonl").resolve() == log
