"""A few pairs of real texts, and the requests about them as the judge stage makes them."""

import json
from collections.abc import Callable
from typing import Any

import numpy as np
from judge_fixtures import CODE, CONF, CRITERIA, EXPLANATION, LICENCE, TABLE

from qurating.judging.endpoint.response_log import Answer
from qurating.judging.pairs import Pairs
from qurating.judging.prompts import Prompt
from qurating.judging.requests import Method, Requests
from qurating.judging.settings import JudgeSettings

TWO = {name: CRITERIA[name] for name in ("educational_value", "writing_style")}
TEXTS = [EXPLANATION, LICENCE, TABLE, CODE]
PAIRS = Pairs([10, 11, 12, 13], ["a", "b", "b", "c"], TEXTS, np.array([0, 2, 3]), np.array([1, 0, 1]), too_short={})


def example_requests(method: str, mode: str = "pairwise", num_votes: int = 5) -> Requests:
    prompt = CONF / "prompts" / f"{mode}.txt"
    settings = JudgeSettings.read(
        {
            "name": "j",
            "model": "m",
            "num_pairs": 2,  # the third is of a ranking
            "max_snippet_tokens": 100,
            "prompt": str(prompt),
            "prompt_sha256": "x",
            "mode": mode,
            "method": "auto",
            "base_url": "http://127.0.0.1:9/v1",
            "num_votes": num_votes,
        }
    )
    shows = ("text_a", "text_b") if mode == "pairwise" else ("text",)
    return Requests(settings, TWO, dict.fromkeys(TWO, Prompt(prompt, shows)), PAIRS, Method(method))


def answered(asked: Requests, answer: Callable[[str, int], list[float] | None]) -> Requests:
    """With the answers of `answer(prompt, repeat)`; None is a request that failed."""
    for request in asked.all():
        text = json.dumps(request.body["messages"], ensure_ascii=False)
        values = answer(text, request.repeat)
        given = Answer(values) if values else Answer(None, "no label", f"of request {request.position}")
        asked.record(request.position, given)
    return asked


def shown(text: str, prompt: str) -> int:
    """Where a prompt shows a text; −1 where it does not."""
    return prompt.find(json.dumps(text, ensure_ascii=False)[1:-1])


def criterion_of(prompt: str) -> int:
    (place,) = [place for place, criterion in enumerate(TWO.values()) if shown(criterion["question"], prompt) >= 0]
    return place


def texts_of(prompt: str) -> list[int]:
    """The places of the texts of a prompt, in the order in which it shows them."""
    there: Any = [(shown(text, prompt), place) for place, text in enumerate(TEXTS)]
    return [place for at, place in sorted(there) if at >= 0]
