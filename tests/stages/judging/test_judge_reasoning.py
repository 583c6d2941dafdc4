"""Judges that think before they answer, and answers in other forms, by servers with the manners of such endpoints."""

import asyncio
import json
import re
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from batch_fixtures import BatchServer
from judge_fixtures import CRITERIA, endpoint, logprob_reply, respond
from judge_stage import run, settings

from qurating.artifacts.files import read_json
from qurating.judging.labels import COMMON_FORMS
from qurating.runtime.errors import StageError

ONE = {"educational_value": CRITERIA["educational_value"]}
PRICE = {"usd_per_million_tokens": [1.0, 10.0]}
PROMPT, ANSWER = 300, 6  # tokens that the servers bill, without the thought


pytestmark = pytest.mark.usefixtures("quick_figures")


def number(text: str) -> int:
    return zlib.crc32(text.strip().encode())


def preferred(body: dict[str, Any]) -> str:
    """The label of the text with the larger hash."""
    shown = re.search(r"<text_a>\n(.*)\n</text_a>.*<text_b>\n(.*)\n</text_b>", body["messages"][-1]["content"], re.S)
    assert shown
    return "A" if number(shown[1]) > number(shown[2]) else "B"


def is_right(row: dict[str, Any]) -> bool:
    """Whether a pair has the preference that a server has shown."""
    zero, one = (number(text.replace("</text", "< /text")) for text in row["texts"])
    return bool(row["educational_value_average"] == ([[-100, 1], [0, -100]] if one > zero else [[-100, 0], [1, -100]]))


def rows(folder: Path) -> list[dict[str, Any]]:
    return list(pq.read_table(folder / "judgments.parquet").to_pylist())


def refused(message: str, status: int, code: str) -> tuple[int, Any]:
    return status, {"error": {"message": message, "type": "invalid_request_error", "code": code}}


class Thinker:
    """A model that thinks; `shows(thought, label, cut)` makes the message. The thought ends with the other label."""

    def __init__(self, shows: Callable[[str, str, bool], dict[str, Any]], most_tokens: int = 200) -> None:
        self.shows, self.most_tokens = shows, most_tokens
        self.bodies: list[dict[str, Any]] = []
        self.billed = [0, 0]
        self.most_choices = 99

    def refusal(self, body: dict[str, Any]) -> tuple[int, Any] | None:
        return None

    def limit(self, body: dict[str, Any]) -> int:
        return int(body.get("max_completion_tokens") or body["max_tokens"])

    def reply(self, body: dict[str, Any]) -> tuple[int, Any]:
        """Status and body of the reply; every vote takes another number of tokens to think."""
        self.bodies.append(body)
        if found := self.refusal(body):
            return found
        label, choices, completion, thought_tokens = preferred(body), [], 0, 0
        for vote in range(min(body.get("n", 1), self.most_choices)):
            needed = 1 + zlib.crc32(f"{len(self.bodies)} {vote}".encode()) % self.most_tokens
            is_cut = needed + ANSWER > self.limit(body)
            thought = f"Which one? I would say Answer: {'AB'[label == 'A']}"
            choices.append({"index": vote, "message": {"role": "assistant", **self.shows(thought, label, is_cut)},
                            "finish_reason": "length" if is_cut else "stop"})  # fmt: skip
            completion += self.limit(body) if is_cut else needed + ANSWER
            thought_tokens += self.limit(body) if is_cut else needed
        self.billed = [self.billed[0] + PROMPT, self.billed[1] + completion]
        usage = {"prompt_tokens": PROMPT, "completion_tokens": completion, "total_tokens": PROMPT + completion,
                 "completion_tokens_details": {"reasoning_tokens": thought_tokens}}  # fmt: skip
        return 200, {"object": "chat.completion", "model": "m", "choices": choices, "usage": usage}

    def __call__(self, call: dict[str, Any]) -> Any:
        status, body = self.reply(call["body"])
        return respond(body, status)


class OpenAIReasoning(Thinker):
    """With the manners of OpenAI's reasoning models: the thought is hidden, and options are refused."""

    def __init__(self, most_tokens: int = 200) -> None:
        super().__init__(lambda thought, label, cut: {"content": "" if cut else label, "refusal": None}, most_tokens)

    def refusal(self, body: dict[str, Any]) -> tuple[int, Any] | None:
        if "logprobs" in body:
            return refused("You are not allowed to request logprobs from this model", 403, "forbidden")
        for name in ("max_tokens", "logit_bias"):
            if name in body:
                instead = ". Use 'max_completion_tokens' instead." if name == "max_tokens" else "."
                said = f"Unsupported parameter: '{name}' is not supported with this model{instead}"
                return refused(said, 400, "unsupported_parameter")
        if "temperature" in body:
            return refused(
                "Unsupported value: 'temperature' does not support 0 with this model", 400, "unsupported_value"
            )
        return None


def reasoning(url: str, **changes: Any) -> dict[str, Any]:
    given: dict[str, Any] = {"base_url": url, "api_key_variable": None, "num_pairs": 4, "max_cost_usd": 50.0, **PRICE}
    return settings("openai_reasoning", **(given | changes))


def test_a_reasoning_model_is_asked_by_votes_and_its_thoughts_are_paid_for(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    server = OpenAIReasoning()
    with endpoint(server) as url:
        run(tmp_path / "o", corpus, reasoning(url), ONE)
    assert len(server.bodies) == 8
    for body in server.bodies:
        options = {key: value for key, value in body.items() if key != "messages"}
        assert options == {
            "model": "gpt-5-mini", "n": 4, "reasoning_effort": "low", "max_completion_tokens": 4096 + 16,
        }  # fmt: skip
    assert all(is_right(row) for row in rows(tmp_path / "o"))
    summary = read_json(tmp_path / "o" / "summary.json")
    assert (summary["method"], summary["num_votes"], summary["votes_without_label"]) == ("votes", 4, 0.0)
    costs = read_json(tmp_path / "o" / "costs.json")
    assert costs["estimate"]["completion_tokens"] == 8 * 4 * (4096 + 16)
    actual = costs["actual"]
    assert [actual["prompt_tokens"], actual["completion_tokens"]] == server.billed
    assert actual["usd"] == pytest.approx((server.billed[0] + 10 * server.billed[1]) / 1e6)
    said = capsys.readouterr().out
    assert "estimate: 8 calls" in said
    assert "with all 4,096 tokens of thought for each vote" in said
    assert re.search(r"the first reply took \d+ tokens, thought included; at this rate: 8 calls, .* \$0\.0\d", said)


def test_a_deployment_of_azure(tmp_path: Path, corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AZURE_OPENAI_API_KEY", "k")
    server = OpenAIReasoning()
    with endpoint(server) as url:
        given: dict[str, Any] = {"base_url": url.removesuffix("/v1"), "name": "az", "model": "gpt", "num_votes": 4}
        given |= {"max_thinking_tokens": 4096, "token_limit": "max_completion_tokens", "temperature": None, **PRICE}
        run(tmp_path / "o", corpus, settings("azure", label_options={"logit_bias": None}, **given), ONE)
    assert {(body["n"], body["max_completion_tokens"]) for body in server.bodies} == {(4, 4112)}
    assert len(server.bodies) == 24
    assert all(is_right(row) for row in rows(tmp_path / "o"))


def test_batches_send_the_same_bodies(tmp_path: Path, corpus: Path) -> None:
    online, model = OpenAIReasoning(), OpenAIReasoning()
    with endpoint(online) as url:
        run(tmp_path / "online", corpus, reasoning(url), ONE)
    server = BatchServer(model.reply)
    with server.serving() as url:
        run(tmp_path / "batch", corpus, reasoning(url, transport="batch", poll_seconds=0.01, method="votes"), ONE)
    assert server.sizes() == [8]
    sent = [{json.dumps(body, sort_keys=True) for body in each.bodies} for each in (online, model)]
    assert sent[0] == sent[1]
    assert all(is_right(row) for row in rows(tmp_path / "batch"))


@pytest.mark.parametrize("transport", ["online", "batch"])
def test_an_answer_that_is_cut_off_within_the_thought_is_a_failure_with_its_reason(
    tmp_path: Path, corpus: Path, transport: str
) -> None:
    server = OpenAIReasoning(most_tokens=200)
    batches = BatchServer(server.reply)
    given = {"transport": transport, "poll_seconds": 0.01, "method": "separate_votes", "max_thinking_tokens": 100}
    given |= {"max_concurrency": 1}
    with batches.serving() as url:
        with pytest.raises(StageError, match=r"(?s)failed, more than.*tokens ran out within the thought.*max_thinking"):
            run(tmp_path / "o", corpus, reasoning(url, **given), ONE)
        (tmp_path / "p").mkdir()
        run(tmp_path / "p", corpus, reasoning(url, **given, max_failed_fraction=1.0), ONE)
    failures = [json.loads(line) for line in (tmp_path / "p" / "failures.jsonl").read_text().splitlines()]
    assert len(failures) > 5
    assert {failure["reason"].partition(":")[0] for failure in failures} == {
        "the tokens ran out within the thought, or before the end of the answer"
    }
    judged = [row for row in rows(tmp_path / "p") if row["educational_value_average"][0][1] != -100]
    assert all(is_right(row) for row in judged)


@pytest.mark.parametrize("transport", ["online", "batch"])
def test_with_a_higher_limit_only_what_was_cut_off_is_asked_again(tmp_path: Path, corpus: Path, transport: str) -> None:
    server = Thinker(TAGGED["in a field"])
    given = {"method": "separate_votes", "num_votes": 3, "num_pairs": 4, "transport": transport, "poll_seconds": 0.01}
    given |= {"max_failed_fraction": 1.0, "max_concurrency": 1}
    batches = BatchServer(server.reply)
    with batches.serving() as url:
        for limit in (100, 300):
            where = {"base_url": url, "max_thinking_tokens": limit}
            judged = settings("endpoint", **where, **given)
            run(tmp_path / str(limit), corpus, judged, ONE, responses=tmp_path / "r")
    failures = (tmp_path / "100" / "failures.jsonl").read_text().splitlines()
    assert 0 < len(failures) < 24
    if transport == "batch":
        assert batches.sizes() == [24, len(failures)]
    else:
        assert [body["max_tokens"] for body in server.bodies] == [116] * 24 + [316] * len(failures)
    assert all(is_right(row) for row in rows(tmp_path / "300"))
    assert not (tmp_path / "300" / "failures.jsonl").exists()
    logs = [file.read_text() for file in (tmp_path / "r").glob("*.jsonl")]
    assert logs
    assert not [text for text in logs if "I would say" in text]


TAGGED: dict[str, Callable[[str, str, bool], dict[str, Any]]] = {
    "in the content": lambda thought, label, cut: {
        "content": f"<think>\n{thought}" + ("" if cut else f"\n</think>\n\n{label}")
    },
    "opened by the template": lambda thought, label, cut: {
        "content": thought if cut else f"{thought}</think>\n{label}"
    },
    "in a field": lambda thought, label, cut: {"content": None if cut else label, "reasoning_content": thought},
    "in a newer field": lambda thought, label, cut: {"content": None if cut else f"\n\n{label}", "reasoning": thought},
}


@pytest.mark.parametrize("where", TAGGED)
@pytest.mark.parametrize("pattern", [None, r"(?s).*\b([AB])\W*"], ids=["a label alone", "a label at the end"])
def test_the_label_is_read_after_the_thought_wherever_that_stands(
    tmp_path: Path, corpus: Path, where: str, pattern: str | None
) -> None:
    """The thought ends with the other label, and a third of the votes have no room for their thought."""
    server = Thinker(TAGGED[where])
    given = {"max_thinking_tokens": 160, "num_votes": 4, "num_pairs": 3, "label_pattern": pattern, **PRICE}
    with endpoint(server) as url:
        run(tmp_path / "o", corpus, settings("endpoint", base_url=url, max_failed_fraction=1.0, **given), ONE)
    assert {(body["max_tokens"], body["n"]) for body in server.bodies} == {(176, 4)}
    assert not any("logprobs" in body for body in server.bodies)
    judged = [row for row in rows(tmp_path / "o") if row["educational_value_average"][0][1] != -100]
    assert judged
    assert all(is_right(row) for row in judged)
    summary = read_json(tmp_path / "o" / "summary.json")
    assert summary["votes_without_label"] > 0
    assert read_json(tmp_path / "o" / "costs.json")["actual"]["completion_tokens"] == server.billed[1]


def test_an_endpoint_with_one_choice_is_asked_vote_by_vote(tmp_path: Path, corpus: Path) -> None:
    server = Thinker(TAGGED["in a field"])
    server.most_choices = 1
    given = {"max_thinking_tokens": 400, "num_votes": 4, "num_pairs": 2, "temperature": 0.6, **PRICE}
    with endpoint(server) as url:
        with pytest.raises(
            StageError, match=r"supports only judge\.method=separate_votes, which takes 16 calls instead"
        ):
            run(tmp_path / "o", corpus, settings("endpoint", base_url=url, **given), ONE)
        run(tmp_path / "o", corpus, settings("endpoint", base_url=url, max_cost_usd=5.0, **given), ONE)
    assert {body["temperature"] for body in server.bodies} == {0.6}
    assert all(is_right(row) for row in rows(tmp_path / "o"))


@pytest.mark.parametrize("where", TAGGED)
def test_a_judge_that_thinks_unasked_is_named_as_one(tmp_path: Path, corpus: Path, where: str) -> None:
    """Its log-probabilities are those of the thought, of which the first token may look like a label."""

    class WithLogprobs(Thinker):
        def reply(self, body: dict[str, Any]) -> tuple[int, Any]:
            status, found = super().reply(body)
            if "logprobs" in body:
                found["choices"][0]["logprobs"] = logprob_reply({"A": -0.1, "B": -2.5})["choices"][0]["logprobs"]
            return status, found

    server = WithLogprobs(TAGGED[where])
    with (
        endpoint(server) as url,
        pytest.raises(StageError, match=r"thinks before it answers.*judge.max_thinking_tokens=4096"),
    ):
        run(tmp_path / "o", corpus, settings("endpoint", base_url=url), ONE)
    assert len(server.bodies) == 4
    with endpoint(server) as url, pytest.raises(StageError, match=r"those of a thought.*judge.max_thinking_tokens"):
        run(tmp_path / "p", corpus, settings("endpoint", base_url=url, method="logprobs", num_pairs=12), ONE)


def test_a_reasoning_model_that_is_asked_as_another_names_the_way_out(tmp_path: Path, corpus: Path) -> None:
    server = OpenAIReasoning()
    with (
        endpoint(server) as url,
        pytest.raises(StageError, match=r"(?s)refuses every method.*judge=openai_reasoning.*judge.token_limit"),
    ):
        run(tmp_path / "o", corpus, settings("openai", base_url=url, api_key_variable=None), ONE)
    assert len(server.bodies) == 3


def test_a_limit_that_the_endpoint_ignores_stops_a_run_with_a_cap(tmp_path: Path, corpus: Path) -> None:
    class Ignoring(OpenAIReasoning):
        def limit(self, body: dict[str, Any]) -> int:
            return 10**6

    server = Ignoring(most_tokens=30_000)
    with endpoint(server) as url:
        given = {"max_thinking_tokens": 100, "max_concurrency": 1}
        with pytest.raises(StageError, match=r"was allowed 464 tokens .* and bills [\d,]+, .*max_cost_usd=50 cannot"):
            run(tmp_path / "o", corpus, reasoning(url, **given), ONE)
        assert len(server.bodies) == 1
        run(tmp_path / "o", corpus, reasoning(url, **given, max_cost_usd=None), ONE)
    assert len(server.bodies) == 8  # the answer that stopped the run is kept
    assert read_json(tmp_path / "o" / "costs.json")["actual"]["completion_tokens"] == server.billed[1]


def form_of(body: dict[str, Any]) -> Any:
    """An answer in Markdown, in as many tokens as the request allows: one sign, or all."""
    marked = f"**{preferred(body)}**"
    is_cut = body["max_tokens"] < 3
    message = {"content": "**" if is_cut else marked}
    return [{"message": message, "finish_reason": "length" if is_cut else "stop"}] * body["n"]


@pytest.mark.parametrize("max_tokens", [None, 16])
def test_answers_in_another_form_are_refused_unless_a_pattern_accepts_them(
    tmp_path: Path, corpus: Path, max_tokens: int | None
) -> None:
    bodies: list[dict[str, Any]] = []

    def answer(call: dict[str, Any]) -> Any:
        bodies.append(call["body"])
        return respond({"choices": form_of(call["body"])})

    given: dict[str, Any] = {"method": "votes", "request_options": {"max_tokens": max_tokens} if max_tokens else {}}
    with endpoint(answer) as url:
        given |= {"base_url": url}
        with pytest.raises(
            StageError, match=r"another form \(see judge\.label_pattern\).*'\*\*.*check .*label_pattern"
        ):
            run(tmp_path / "o", corpus, settings("endpoint", **given), ONE)
        bodies.clear()
        run(tmp_path / "p", corpus, settings("endpoint", **given, label_pattern=COMMON_FORMS), ONE)
    assert {body["max_tokens"] for body in bodies} == {16}
    assert all(is_right(row) for row in rows(tmp_path / "p"))


def test_answers_that_fail_for_their_form_are_told_with_the_setting(
    tmp_path: Path, corpus: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """One of eight requests answers in another form alone, and one vote in four of the others."""
    asked: list[str] = []

    async def answer(call: dict[str, Any]) -> Any:
        body = call["body"]
        asked.append(json.dumps(body["messages"]))
        await asyncio.sleep(0)
        label, forms = preferred(body), ["{}", "{}", "{}", "Text {}"] if len(asked) != 5 else ["Text {}"] * 4
        return respond({"choices": [{"message": {"content": form.format(label)}} for form in forms]})

    with endpoint(answer) as url:
        given = settings("endpoint", base_url=url, method="votes", num_votes=4, num_pairs=4, max_concurrency=1)
        with pytest.raises(StageError, match=r"12\.5 % of the judgments failed"):
            run(tmp_path / "o", corpus, given, ONE)
        told = capsys.readouterr().out
        asked.clear()
        run(tmp_path / "p", corpus, given | {"max_failed_fraction": 0.2}, ONE)
    for said in (told, capsys.readouterr().out):
        assert "1 requests failed only because of the form of their answers (the answer was 'Text " in said
        assert f"'judge.label_pattern=\"{COMMON_FORMS}\"'" in said
        assert "25.0 % of the votes in the other replies name no label" in said
    summary = read_json(tmp_path / "p" / "summary.json")
    assert summary["votes_without_label"] == pytest.approx(0.25)
    assert [found["num_requests"] for found in summary["failed"].values()] == [1]
