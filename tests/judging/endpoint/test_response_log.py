"""The response log: answers of earlier runs by the key of their request, and the tokens paid for them."""

import json
import time
from pathlib import Path
from typing import Any

import pytest
from judge_fixtures import logprob_reply

from qurating.judging.endpoint import replies
from qurating.judging.endpoint.base import Request
from qurating.judging.endpoint.replies import AnswerError
from qurating.judging.endpoint.response_log import Answer, ResponseLog, is_intact, key_of_reply

parse = list[float]  # of replies that are lists of numbers


def answer(number: float, **tokens: Any) -> tuple[Answer, list[float]]:
    """An answer and its reply."""
    return Answer([number], **tokens), [number]


def test_a_log_of_equal_requests_keeps_them_apart(tmp_path: Path) -> None:
    body = {"model": "m", "messages": []}
    keys = [Request(0, body, repeat).key() for repeat in range(3)]
    assert len(set(keys)) == 3
    response_log = ResponseLog(tmp_path / "j", remember=True)
    for number, key in enumerate(keys):
        response_log.add(key, *answer(number, prompt_tokens=5))
    assert [response_log.get(key, parse) for key in keys] == [Answer([float(n)], "", "", 5) for n in range(3)]
    response_log.close()
    again = ResponseLog(tmp_path / "j")
    assert [again.get(key, parse) for key in keys] == [Answer([float(n)], "", "", 5) for n in range(3)]
    assert (again.prompt_tokens, again.num_usable, len(again)) == (15, 3, 3)
    again.close()


def test_a_run_goes_on_at_another_address_and_each_line_has_its_own(tmp_path: Path) -> None:
    for number, endpoint in enumerate(["openai https://one/v1", "openai https://other/v1"]):
        response_log = ResponseLog(tmp_path / "j", asked_of=endpoint)
        assert len(response_log) == number
        response_log.add(f"{number:024x}", *answer(number))
        response_log.close()
    again = ResponseLog(tmp_path / "j", asked_of="third")
    assert [again.get(f"{number:024x}", parse) for number in range(2)] == [Answer([0.0]), Answer([1.0])]
    again.close()
    lines = [json.loads(line) for line in (tmp_path / "j").read_text().splitlines()]
    assert len({line["endpoint"] for line in lines}) == 2
    assert "https" not in (tmp_path / "j").read_text()


def test_the_reply_is_kept_and_read_by_whoever_looks_it_up(tmp_path: Path) -> None:
    """Without what no reading needs: the bytes of tokens are half of a reply with log-probabilities."""
    reply = logprob_reply({"A": -0.25, "B": -1.75}) | {
        "id": "x",
        "model": "m-2026-01-01",
        "usage": {"prompt_tokens": 9},
    }
    (first,) = reply["choices"][0]["logprobs"]["content"]
    for entry in (first, *first["top_logprobs"]):
        entry["bytes"] = [65]
    response_log = ResponseLog(tmp_path / "j")
    before = int(time.time())
    response_log.add("aa" * 12, Answer([0.0]), reply)
    response_log.close()
    again = ResponseLog(tmp_path / "j")
    kept = again.reply("aa" * 12)
    assert replies.weights_from_logprobs(kept) == replies.weights_from_logprobs(reply)
    assert replies.has_logprobs(kept)
    assert again.get("aa" * 12, lambda found: [float(len(found["choices"]))]) == Answer([1.0])
    ((model, (number, since, until)),) = again.by_model.items()
    assert (model, number) == ("m-2026-01-01", 1)
    assert before <= since == until <= time.time()
    again.close()
    written = (tmp_path / "j").read_text()
    assert not [name for name in ("bytes", '"id"', "usage") if name in written]


def test_a_reply_that_cannot_be_used_by_this_reading_counts_as_none(tmp_path: Path) -> None:
    def strict(reply: Any) -> list[float]:
        raise AnswerError("prose")

    response_log = ResponseLog(tmp_path / "j", remember=True)
    response_log.add("aa" * 12, *answer(1.0))
    assert response_log.get("aa" * 12, strict) is None
    assert response_log.use("aa" * 12, strict) is None
    response_log.add("aa" * 12, Answer(None, "prose"))
    assert response_log.get("aa" * 12, strict) == Answer(None, "prose")
    response_log.close()


def test_answers_of_other_logs_are_found_and_counted_and_failures_of_this_one_come_first(tmp_path: Path) -> None:
    asked: set[tuple[str, str]] = set()

    class Others:
        def __len__(self) -> int:
            return 1

        def __call__(self, key: str, endpoint: str) -> dict[str, Any] | None:
            asked.add((key, endpoint))
            return {"key": key, "reply": [3.0], "time": 7, "prompt_tokens": 100}

    response_log = ResponseLog(tmp_path / "j", asked_of="there", earlier=Others())
    assert response_log.may_answer()
    assert response_log.get("aa" * 12, parse) == response_log.use("aa" * 12, parse) == Answer([3.0], "", "", 100)
    response_log.add("bb" * 12, Answer(None, "prose"), remember=True)
    assert response_log.use("bb" * 12, parse) == Answer(None, "prose")
    assert (response_log.num_found_again, response_log.by_model) == (1, {"": (1, 7, 7)})
    assert (response_log.prompt_tokens, response_log.num_usable, len(response_log)) == (0, 0, 1)
    assert [response_log.is_own(key * 12) for key in ("aa", "bb")] == [False, True]
    response_log.close()
    other = ResponseLog(tmp_path / "j", asked_of="elsewhere", earlier=Others())
    other.get("aa" * 12, parse)
    other.close()
    assert {key for key, _ in asked} == {"aa" * 12}
    assert len(asked) == 2  # the endpoint is part of the question


def test_tokens_of_batches_are_also_counted_apart(tmp_path: Path) -> None:
    """They have their own price, also in a run with the other transport."""
    response_log = ResponseLog(tmp_path / "j")
    response_log.add("aa" * 12, Answer([1.0], "", "", 1000, 10, batch=True), [1.0])
    response_log.add("bb" * 12, Answer([1.0], "", "", 500, 5), [1.0])
    assert (response_log.prompt_tokens, response_log.by_batch) == (1500, (1000, 10))
    response_log.close()
    again = ResponseLog(tmp_path / "j")
    assert (again.prompt_tokens, again.completion_tokens, again.by_batch) == (1500, 15, (1000, 10))
    again.close()


def test_lost_tokens_count_and_are_no_answer(tmp_path: Path) -> None:
    response_log = ResponseLog(tmp_path / "j")
    response_log.add_lost(0, 0)
    response_log.add_lost(300, 2)
    response_log.close()
    assert (tmp_path / "j").read_bytes().count(b"\n") == 1
    again = ResponseLog(tmp_path / "j")
    assert (again.prompt_tokens, again.completion_tokens, again.num_usable, len(again)) == (300, 2, 0, 0)
    again.close()


def test_answers_of_this_run_are_found_only_if_remembered(tmp_path: Path) -> None:
    response_log = ResponseLog(tmp_path / "j")
    response_log.add("aa" * 12, *answer(1.0))
    response_log.add("bb" * 12, Answer(None, "prose", "half a \ud800 character"), remember=True)
    assert response_log.get("aa" * 12, parse) is None
    assert response_log.get("bb" * 12, parse) == Answer(None, "prose", "half a \ud800 character")
    response_log.close()


def test_failures_can_be_forgotten_and_what_they_cost_is_not(tmp_path: Path) -> None:
    response_log = ResponseLog(tmp_path / "j")
    response_log.add("aa" * 12, Answer(None, "prose", prompt_tokens=3))
    response_log.add("bb" * 12, *answer(1.0))
    response_log.forget_failures()
    response_log.close()
    again = ResponseLog(tmp_path / "j")
    assert [again.get(key * 12, parse) for key in ("aa", "bb")] == [None, Answer([1.0])]
    assert again.prompt_tokens == 3
    again.close()


@pytest.mark.parametrize("kept", [1, 20, -1])
def test_an_incomplete_last_line_is_dropped_and_the_next_answer_is_not(tmp_path: Path, kept: int) -> None:
    """A kill in the middle of a write: the lines before and after the incomplete one are read."""
    first, second, third = (f"{number:024x}" for number in range(3))
    response_log = ResponseLog(tmp_path / "j")
    for number, key in enumerate((first, second)):
        response_log.add(key, *answer(number, prompt_tokens=10))
    response_log.close()
    lines = (tmp_path / "j").read_bytes().splitlines(keepends=True)
    whole = kept == -1  # all but the line's end
    (tmp_path / "j").write_bytes(lines[0] + lines[1][:kept])
    response_log = ResponseLog(tmp_path / "j")
    assert response_log.get(second, parse) == (Answer([1.0], "", "", 10) if whole else None)
    response_log.add(third, *answer(2.0, prompt_tokens=10))
    response_log.close()
    again = ResponseLog(tmp_path / "j")
    assert again.get(first, parse) == Answer([0.0], "", "", 10)
    assert again.get(third, parse) == Answer([2.0], "", "", 10)
    assert (len(again), again.prompt_tokens) == ((3, 30) if whole else (2, 20))
    again.close()


def test_a_changed_answer_is_dropped_and_counted(tmp_path: Path) -> None:
    keys = [f"{number:024x}" for number in range(3)]
    response_log = ResponseLog(tmp_path / "j")
    for key in keys:
        response_log.add(key, *answer(0.25, prompt_tokens=10))
    response_log.close()
    lines = (tmp_path / "j").read_bytes().splitlines(keepends=True)
    (tmp_path / "j").write_bytes(
        lines[0] + lines[1].replace(b"0.25", b"0.75") + lines[2].replace(b',"crc32"', b',"crc33"')
    )
    again = ResponseLog(tmp_path / "j")
    assert [again.get(key, parse) for key in keys] == [Answer([0.25], "", "", 10), None, None]
    assert (again.num_dropped, again.num_usable, again.prompt_tokens) == (2, 1, 10)
    again.close()


@pytest.mark.parametrize("text", ['it said ","crc32":12}', "half a \ud800 character", '","reply":'])
def test_lines_are_recognised_whatever_is_in_them(tmp_path: Path, text: str) -> None:
    response_log = ResponseLog(tmp_path / "j", remember=True)
    response_log.add("aa" * 12, Answer([1.0]), {"said": text})
    response_log.add("bb" * 12, Answer(None, text, text))
    response_log.add_lost(1, 1)
    assert response_log.get("aa" * 12, lambda reply: [float(reply["said"] == text)]) == Answer([1.0])
    assert response_log.get("bb" * 12, parse) == Answer(None, text, text)
    response_log.close()
    lines = (tmp_path / "j").read_bytes().splitlines(keepends=True)
    assert all(map(is_intact, lines))
    assert not is_intact(lines[0][:-1] + b" \n")
    assert not is_intact(b"{}\n")
    assert [key_of_reply(line) for line in lines] == [("aa" * 12, json.loads(lines[0])["endpoint"]), None, None]
