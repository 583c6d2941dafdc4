"""A simulated judge: a small OpenAI-compatible server on loopback that prefers texts by their statistics.

It takes the place of a language model, so that all code between prompt and judgment is exercised; it knows nothing
about quality. It finds the criterion by its question in the prompt, and the texts between the tags of
`conf/prompts/pairwise.txt`. For texts A and B and criterion c, the probability of the label B is

    σ( score_c(B) − score_c(A) + noise · z − positional_bias )

where score_c is the criterion's weighted sum of standardised statistics (text_statistics.py), and z is a standard
normal number drawn from a hash of (seed, c, A, B): the same prompt always gets the same answer, and the other order
gets another z. One percent of the probability goes to a word that is not a label, as in a real model.

Run as a process: `python -m qurating.judging.servers.simulated` reads a JSON line of settings, prints its port, serves,
and ends when its standard input closes, so it cannot outlive the process that started it.
"""

import asyncio
import contextlib
import functools
import hashlib
import json
import math
import random
import re
import sys
from collections.abc import Iterator, Mapping
from typing import Any, NamedTuple

from aiohttp import web

from qurating.judging.servers import process
from qurating.judging.servers.text_statistics import STATISTICS, standardised, weighted

MODEL = "simulated"
LABELS = ("A", "B")
NO_LABEL = "Neither"
_TEXTS = re.compile(r"<text_a>\n(.*)\n</text_a>\s*<text_b>\n(.*)\n</text_b>", re.DOTALL)
_statistics = functools.lru_cache(maxsize=4096)(standardised)  # a text occurs with every criterion, in both orders


class Settings(NamedTuple):
    """Settings of the server. `criteria`: question -> weights by statistic; `noise`, `positional_bias`: logits."""

    criteria: dict[str, dict[str, float]]
    noise: float
    positional_bias: float
    seed: int


class SettingsError(ValueError):
    """Weights for an unknown statistic."""


class RefusedError(Exception):
    """A request that this server cannot answer: HTTP status and message."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


def logit_of_b(settings: Settings, prompt: str) -> float:
    """The log-odds of label B for a prompt; raises RefusedError without a known question or two texts."""
    found = _TEXTS.search(prompt)
    if not found:
        raise RefusedError(400, "the simulated judge finds no texts between <text_a>, </text_a>, <text_b>, </text_b>")
    around = prompt[: found.start()] + prompt[found.end() :]
    question = next((question for question in settings.criteria if question in around), None)
    if question is None:
        raise RefusedError(400, "the simulated judge finds the question of no known criterion in the prompt")
    text_a, text_b = found.groups()
    weights = settings.criteria[question]
    difference = weighted(_statistics(text_b), weights) - weighted(_statistics(text_a), weights)
    z = _random(settings.seed, question, text_a, text_b).gauss(0.0, 1.0)
    return difference + settings.noise * z - settings.positional_bias


def label_logprobs(logit: float) -> dict[str, float]:
    """Log-probabilities of the labels and of another word, most probable first; their exponentials sum to 1."""
    b = -math.log1p(math.exp(-logit)) if logit > -700 else logit
    found = {"A": b - logit + math.log(0.99), "B": b + math.log(0.99), NO_LABEL: math.log(0.01)}
    return dict(sorted(found.items(), key=lambda item: -item[1]))


def _random(seed: int, *parts: str) -> random.Random:
    digest = hashlib.blake2b("\x00".join([str(seed), *parts]).encode("utf-8", "replace"), digest_size=8).digest()
    return random.Random(int.from_bytes(digest, "little"))


def complete(settings: Settings, body: Mapping[str, Any]) -> dict[str, Any]:
    """The reply to a chat completion of one token; raises RefusedError with the HTTP status of a real server."""
    try:
        prompt = "\n".join(message["content"] for message in body["messages"])
        model, num_choices, temperature = body["model"], int(body.get("n") or 1), float(body.get("temperature", 1))
    except (KeyError, TypeError, ValueError) as error:
        raise RefusedError(400, f"not a chat completion of plain text: {error!r}") from None
    if model != MODEL:
        raise RefusedError(404, f"the model {model!r} does not exist here; the only model is {MODEL!r}")
    logprobs = label_logprobs(logit_of_b(settings, prompt))
    if temperature > 0:
        draw = _random(settings.seed, "votes", prompt)
        tempered = [math.exp(value / temperature) for value in logprobs.values()]
        tokens = draw.choices(list(logprobs), weights=tempered, k=num_choices)
    else:
        tokens = [next(iter(logprobs))] * num_choices
    top = [_token(token, logprobs[token]) for token in list(logprobs)[: int(body.get("top_logprobs") or 0)]]
    choices = [
        {
            "index": index,
            "message": {"role": "assistant", "content": token},
            "finish_reason": "stop",
            "logprobs": {"content": [{**_token(token, logprobs[token]), "top_logprobs": top}]}
            if body.get("logprobs")
            else None,
        }
        for index, token in enumerate(tokens)
    ]
    num_words = len(prompt.split())
    usage = {"prompt_tokens": num_words, "completion_tokens": num_choices, "total_tokens": num_words + num_choices}
    name = hashlib.blake2b(prompt.encode("utf-8", "replace"), digest_size=8).hexdigest()
    return {
        "id": f"simulated-{name}",
        "object": "chat.completion",
        "created": 0,
        "model": MODEL,
        "choices": choices,
        "usage": usage,
    }


def _token(token: str, logprob: float) -> dict[str, Any]:
    return {"token": token, "logprob": logprob, "bytes": list(token.encode())}


def application(settings: Settings) -> web.Application:
    """The server with its two routes: chat completions and models."""

    async def chat(request: web.Request) -> web.Response:
        try:
            return web.json_response(complete(settings, json.loads(await request.read())))
        except RefusedError as error:
            status, message = error.status, str(error)
        except ValueError as error:
            status, message = 400, f"the body is not JSON: {error}"
        return web.json_response({"error": {"message": message, "type": "invalid_request_error"}}, status=status)

    async def models(request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": [{"id": MODEL, "object": "model", "owned_by": "qurating"}]})

    app = web.Application(client_max_size=16 * 2**20)
    app.add_routes([web.post("/v1/chat/completions", chat), web.get("/v1/models", models)])
    return app


async def _serve() -> None:
    loop = asyncio.get_running_loop()
    given = json.loads(sys.stdin.readline())
    runner = web.AppRunner(application(Settings(**given)), access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    print(runner.addresses[0][1], flush=True)
    await loop.run_in_executor(None, sys.stdin.read)  # returns when the parent closes the pipe or dies
    await runner.cleanup()


@contextlib.contextmanager
def serving(settings: Settings) -> Iterator[str]:
    """Run the server in a separate process during the block, and yield its base URL.

    Raises SettingsError for a weight on an unknown statistic, RuntimeError if the server does not start.
    """
    for question, weights in settings.criteria.items():
        if unknown := set(weights) - set(STATISTICS):
            names = ", ".join(STATISTICS)
            raise SettingsError(f"{question!r}: no statistic {', '.join(sorted(unknown))}; the statistics are {names}")
    with process.started("qurating.judging.servers.simulated", settings._asdict()) as printed:
        port = printed.readline().strip()
        if not port:
            raise RuntimeError("the simulated judge did not start")
        yield f"http://127.0.0.1:{port}/v1"


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve())
