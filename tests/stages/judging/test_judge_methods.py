"""The method that an endpoint supports is found by a call; separate votes, grades, rankings, comparisons."""

import json
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from aiohttp import web
from judge_fixtures import CRITERIA, EXPLANATION, LICENCE, TABLE, endpoint, logprob_reply, respond
from judge_stage import run, settings

from qurating.artifacts.files import read_json
from qurating.runtime.errors import StageError
from qurating.stages.judging.judge import judge

ONE = {"educational_value": CRITERIA["educational_value"]}


pytestmark = pytest.mark.usefixtures("quick_figures")


class Server:
    """An endpoint with or without log-probabilities and `n`; `says` makes the n-th choice."""

    def __init__(self, says: Callable[[str, int], str], logprobs: bool, most_choices: int | None) -> None:
        self.says, self.logprobs, self.most_choices = says, logprobs, most_choices
        self.bodies: list[dict[str, Any]] = []

    def __call__(self, call: dict[str, Any]) -> web.Response:
        body = call["body"]
        self.bodies.append(body)
        if body.get("logprobs") and not self.logprobs:
            return respond({"error": {"message": "logprobs is not supported", "code": "unsupported_parameter"}}, 400)
        number = body.get("n", 1)
        if self.most_choices == 0 and number > 1:
            return respond({"error": {"message": "n must be 1"}}, 400)
        text = json.dumps(body["messages"])
        if self.logprobs and body.get("logprobs"):
            return respond(logprob_reply({"A": -0.2, "B": -1.7}))
        asked_before = len([b for b in self.bodies if b["messages"] == body["messages"]])
        shown = [self.says(text, asked_before + k) for k in range(min(number, self.most_choices or 1))]
        return respond({"choices": [{"message": {"content": said}} for said in shown]})


@pytest.mark.parametrize(
    ("logprobs", "most_choices", "method", "num_probes"),
    [
        (True, 99, "logprobs", 0),
        (False, 99, "votes", 1),
        (False, 1, "separate_votes", 2),
        (False, 0, "separate_votes", 2),
    ],
)
def test_the_method_is_found_out_and_recorded(
    tmp_path: Path, corpus: Path, logprobs: bool, most_choices: int, method: str, num_probes: int
) -> None:
    server = Server(lambda text, k: "AB"[k % 2] if k % 5 else "A", logprobs, most_choices)
    with endpoint(server) as url:
        given = settings("endpoint", base_url=url, num_pairs=2, num_votes=5)
        given |= {"usd_per_million_tokens": [1, 1], "max_cost_usd": 10.0}  # it may ask five times as often
        run(tmp_path / "o", corpus, given, ONE)
    calls = 4 * (5 if method == "separate_votes" else 1)
    # a reply to the probe that is an answer counts as one: a call is never paid for twice
    assert len(server.bodies) == calls + num_probes
    table = pq.read_table(tmp_path / "o" / "judgments.parquet").to_pylist()
    assert {row["method"] for row in table} == {method}
    assert read_json(tmp_path / "o" / "summary.json")["method"] == method
    votes = np.array(table[0]["educational_value_votes_a"]) + np.array(table[0]["educational_value_votes_b"])
    if method != "logprobs":
        assert votes[0, 1] == votes[1, 0] == 5
    assert not (tmp_path / "o" / "method.json").exists()


def test_a_method_that_was_found_is_kept_after_a_stop(tmp_path: Path, corpus: Path) -> None:
    server = Server(lambda text, k: "A", logprobs=False, most_choices=99)
    given = settings("endpoint", num_pairs=8, num_votes=5, max_concurrency=1)
    with (
        endpoint(lambda call: server(call) if len(server.bodies) < 6 else respond({}, 401)) as url,
        pytest.raises(StageError, match="refuses access"),
    ):
        run(tmp_path / "o", corpus, given | {"base_url": url}, ONE)
    assert read_json(tmp_path / "o" / "method.json") == {"method": "votes"}
    with endpoint(server) as url:
        run(tmp_path / "o", corpus, given | {"base_url": url}, ONE)
    assert len(server.bodies) == 16 + 1
    # the probes of the run that was stopped
    assert "probes of the method: 2" in (tmp_path / "o" / "report.html").read_text(encoding="utf-8")
    assert sum("logprobs" in body for body in server.bodies) == 1


def test_an_endpoint_that_refuses_everything_says_why(tmp_path: Path, corpus: Path) -> None:
    def answer(call: dict[str, Any]) -> web.Response:
        return respond({"error": {"message": "use max_completion_tokens instead of max_tokens"}}, 400)

    given = settings("endpoint")
    with endpoint(answer) as url, pytest.raises(StageError, match=r"refuses every method(.|\n)*max_completion_tokens"):
        run(tmp_path / "o", corpus, given | {"base_url": url}, ONE)


def test_an_option_takes_the_place_of_another(tmp_path: Path, corpus: Path) -> None:
    server = Server(lambda text, k: "A", logprobs=True, most_choices=99)
    options = {"max_completion_tokens": 4, "temperature": None, "top_k": 3}
    with endpoint(server) as url:
        run(tmp_path / "o", corpus, settings("endpoint", base_url=url, num_pairs=1, request_options=options), ONE)
    assert all("max_tokens" not in body and "temperature" not in body for body in server.bodies)
    assert all(body["max_completion_tokens"] == 4 and body["top_k"] == 3 for body in server.bodies)


def test_separate_votes_need_a_majority_and_their_failures_are_recorded(tmp_path: Path, corpus: Path) -> None:
    server = Server(lambda text, k: "B" if k % 5 else "Neither of them", logprobs=False, most_choices=1)
    prose = Server(lambda text, k: "B" if k % 5 < 2 else "I would say", logprobs=False, most_choices=1)
    for number, (made, share) in enumerate([(server, 0.5), (prose, -100)]):
        with endpoint(made) as url:
            given = settings("endpoint", base_url=url, num_pairs=1, num_votes=5, method="separate_votes")
            given |= {"max_concurrency": 1, "max_failed_fraction": 1.0}
            counts = run(tmp_path / str(number), corpus, given, ONE)
        row = pq.read_table(tmp_path / str(number) / "judgments.parquet").to_pylist()[0]
        assert row["educational_value_average"][0][1] == share
        failures = [json.loads(line) for line in (tmp_path / str(number) / "failures.jsonl").read_text().splitlines()]
        assert len(failures) == counts["failed_requests"] == (2 if number == 0 else 6)
        assert {failure["reason"] for failure in failures} == {"the answer names no label"}
        assert failures[0]["indices"] == row["indices"]
        assert failures[0]["criterion"] == "educational_value"


def grade_for(text: str, vote: int) -> str:
    return str(1 + zlib.crc32(text.encode()) % 9 + vote % 2)


def test_individual_grades_end_to_end(tmp_path: Path, corpus: Path) -> None:
    server = Server(grade_for, logprobs=True, most_choices=99)
    with endpoint(server) as url:
        given = settings("openai", base_url=url, mode="individual", num_votes=4, api_key_variable=None)
        given |= {"prompt": "conf/prompts/individual.txt"}
        run(tmp_path / "i", corpus, given, ONE)
    assert all("logit_bias" not in body and body["max_tokens"] == 3 for body in server.bodies)
    assert {body.get("n") for body in server.bodies} == {4}
    grades = pq.read_table(tmp_path / "i" / "grades.parquet").to_pylist()
    assert len(grades) == 24
    average = {row["index"]: row["educational_value_average"] for row in grades}
    for row in grades:
        assert len(row["educational_value_grades"]) == 4
        assert np.mean(row["educational_value_grades"]) == row["educational_value_average"]
    for row in pq.read_table(tmp_path / "i" / "judgments.parquet").to_pylist():
        zero, one = (average[i] for i in row["indices"])
        p = row["educational_value_average"][0][1]
        assert row["method"] == "grades"
        assert (p > 0.5) == (one > zero) or p == 0.5
        assert row["educational_value_votes_a"] == [[-100, -100], [-100, -100]]
    summary = read_json(tmp_path / "i" / "summary.json")
    assert summary["mode"] == "individual"
    assert "Each pair is asked in both orders" not in (tmp_path / "i" / "report.html").read_text()


def test_pairwise_and_individual_judgments_of_the_same_pairs_are_compared_and_ranked(
    tmp_path: Path, corpus: Path
) -> None:
    ranking = tmp_path / "ranking.jsonl"
    ranked = [EXPLANATION, LICENCE, TABLE]
    ranking.write_text("".join(json.dumps({"text": text, "rank": k}) + "\n" for k, text in enumerate(ranked, 1)))
    place = {EXPLANATION[:40]: 9, LICENCE[:40]: 5, TABLE[:40]: 1}

    def grade(text: str, vote: int) -> str:
        found = [value for start, value in place.items() if json.dumps(start)[1:-1] in text]
        return str(found[0]) if found else grade_for(text, 0)

    server = Server(grade, logprobs=True, most_choices=99)
    common: dict[str, Any] = {
        "ranking": str(ranking),
        "ranking_listing": "x",
        "max_snippet_tokens": 2000,
        "num_pairs": 10,
    }
    with endpoint(server) as url:
        given = settings("endpoint", base_url=url, mode="individual", num_votes=2, **common)
        run(tmp_path / "graded", corpus, given | {"prompt": "conf/prompts/individual.txt"}, ONE)
    summary = read_json(tmp_path / "graded" / "summary.json")
    assert summary["criteria"]["educational_value"]["kendall_tau"] == 1.0
    assert summary["num_texts"] == 20
    (tmp_path / "both").mkdir()
    judge(
        output=tmp_path / "both",
        corpus=corpus,
        criteria=ONE,
        judge=settings(noise=0.0, positional_bias=0.0, **common),
        compared=tmp_path / "graded",
        seed=1,
        responses=str(tmp_path / "responses"),
    )
    summary = read_json(tmp_path / "both" / "summary.json")
    found = summary["compared"]["criteria"]["educational_value"]
    assert (summary["compared"]["mode"], found["num_pairs"], found["kendall_tau"]) == ("individual", 10, 1.0)
    assert len(pq.read_table(tmp_path / "both" / "judgments.parquet")) == 10  # those of the ranking are not among them
    assert summary["criteria"]["educational_value"]["kendall_tau"] > 0
    assert "by people" in (tmp_path / "both" / "report.html").read_text()


@pytest.mark.parametrize(
    ("line", "says"),
    [('{"text": "a"}', "line 2"), ("nonsense", "line 2"), ('{"text": " ", "rank": 1}', "line 2"), ("", "has 1 texts")],
)
def test_rankings_that_cannot_be_read(tmp_path: Path, corpus: Path, line: str, says: str) -> None:
    (tmp_path / "r.jsonl").write_text('{"text": "a", "rank": {"educational_value": 1}}\n' + line + "\n")
    given = settings(ranking=str(tmp_path / "r.jsonl"), ranking_listing="x")
    with pytest.raises(StageError, match=rf"r\.jsonl.*{says}"):
        run(tmp_path / "o", corpus, given, ONE)


def test_relative_paths_are_of_the_working_directory(
    tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """They were taken from the repository. Its own prompts, which the settings name, are still found."""
    monkeypatch.chdir(tmp_path)
    rows = [json.dumps({"text": text, "rank": k}) + "\n" for k, text in enumerate([EXPLANATION, LICENCE, TABLE])]
    Path("mine.jsonl").write_text("".join(rows), encoding="utf-8")
    Path("mine.txt").write_text("{% block user %}{{ criterion.question }} {{ text_a }} / {{ text_b }}{% endblock %}")
    server = Server(lambda text, k: "A", logprobs=True, most_choices=99)
    given: dict[str, Any] = {"num_pairs": 1, "ranking": "mine.jsonl", "ranking_listing": "x"}
    with endpoint(server) as url:
        run(tmp_path / "o", corpus, settings("endpoint", base_url=url, **given), ONE)
        assert all("text_a" in body["messages"][-1]["content"] for body in server.bodies)
        server.bodies.clear()
        run(tmp_path / "p", corpus, settings("endpoint", base_url=url, prompt="mine.txt", **given), ONE)
    assert read_json(tmp_path / "o" / "summary.json")["criteria"]["educational_value"]["num_ranked"] == 3
    assert all(ONE["educational_value"]["question"] in body["messages"][-1]["content"] for body in server.bodies)
    assert not any("text_a" in body["messages"][-1]["content"] for body in server.bodies)


def test_a_criterion_may_have_its_own_prompt(tmp_path: Path, corpus: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("{% block user %}Which text is plainer? {{ text_a }} / {{ text_b }}{% endblock %}")
    server = Server(lambda text, k: "A", logprobs=True, most_choices=99)
    both = ONE | {"writing_style": CRITERIA["writing_style"] | {"prompt": str(own), "prompt_sha256": "x"}}
    with endpoint(server) as url:
        run(tmp_path / "o", corpus, settings("endpoint", base_url=url, num_pairs=1), both)
        with pytest.raises(StageError, match="prompt_sha256"):
            run(
                tmp_path / "p",
                corpus,
                settings("endpoint", base_url=url),
                {"x": both["writing_style"] | {"name": "x", "prompt_sha256": ""}},
            )
    asked = [body["messages"][-1]["content"] for body in server.bodies]
    assert sum(text.startswith("Which text is plainer? ") for text in asked) == 2
