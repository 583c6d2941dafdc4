"""Shared by the tests of the judge: a small corpus of real text, and an endpoint that can misbehave."""

import asyncio
import contextlib
import inspect
import json
import pydoc_data.topics
import threading
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import aiohttp.web
import pyarrow as pa
import yaml
from aiohttp import web
from repository import ROOT
from tokenizers import ByteLevelBPETokenizer

from qurating.artifacts.files import write_table

CONF = ROOT / "conf"
CRITERIA: dict[str, dict[str, Any]] = {
    file.stem: {key: value for key, value in criterion.items() if not key.startswith("prompt")}  # judge.prompt
    for file in sorted((CONF / "criterion").glob("*.yaml"))
    if "question" in (criterion := yaml.safe_load(file.read_text(encoding="utf-8")))  # lqs is computed, not judged
}
LICENCE = """Redistribution and use in source and binary forms, with or without modification, are permitted provided
that the following conditions are met: redistributions of source code must retain the above copyright notice, this
list of conditions and the following disclaimer. This software is provided by the copyright holders and contributors
"as is" and any express or implied warranties, including the implied warranties of merchantability and fitness for a
particular purpose, are disclaimed. In no event shall the copyright holder be liable for any damages."""
TABLE = "\n".join(f"{i},{i * i % 97},{i * 7 % 13:.2f},row{i}" for i in range(80))
CODE = inspect.getsource(contextlib)[3000:4500]
EXPLANATION = """Leaves look green because they hold chlorophyll, which takes in red and blue light but sends green
light back. If you pass sunlight through a prism, for example, you can see that it is made of many colours. A leaf uses
some of them to build sugar from water and air, and therefore it needs light to grow. This means that a plant in a dark
room turns pale: it stops making chlorophyll when there is nothing to be gained from it."""


def make_corpus(folder: Path, texts: dict[str, list[str]], rows_per_shard: int = 40) -> Path:
    """Write a corpus with one sequence per text; ids count from 1,000."""
    everything = [(domain, text) for domain, of_domain in texts.items() for text in of_domain]
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator([text for _, text in everything], vocab_size=1000, special_tokens=["<|endoftext|>"])
    (folder / "tokenizer").mkdir(parents=True)
    bpe.save(str(folder / "tokenizer" / "tokenizer.json"))
    for shard, start in enumerate(range(0, max(len(everything), 1), rows_per_shard)):
        rows = everything[start : start + rows_per_shard]
        table = pa.table(
            {
                "id": pa.array(range(1000 + start, 1000 + start + len(rows)), pa.int64()),
                "document_id": pa.array([f"document {start + row}" for row in range(len(rows))], pa.string()),
                "domain": pa.array([domain for domain, _ in rows], pa.string()),
                "length": pa.array([len(bpe.encode(text).ids) for _, text in rows], pa.int32()),
                "text": pa.array([text for _, text in rows], pa.string()),
            }
        )
        write_table(folder / "train" / f"{shard:05d}.parquet", table)
    return folder


def real_corpus(folder: Path, num_topics: int = 60) -> Path:
    topics = [text[:1500] for _, text in sorted(pydoc_data.topics.topics.items())[:num_topics]]
    return make_corpus(folder, {"topics": topics, "licences": [LICENCE], "short": ["Too short to judge.", "", "One."]})


@contextlib.contextmanager
def served(app: web.Application) -> Iterator[str]:
    """Run an application on a real HTTP server in a thread, and yield its base URL."""
    loop, started, port = asyncio.new_event_loop(), threading.Event(), [0]

    async def start() -> web.AppRunner:
        runner = web.AppRunner(app)
        await runner.setup()
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        port[0] = runner.addresses[0][1]
        return runner

    def serve() -> None:
        runner = loop.run_until_complete(start())
        started.set()
        loop.run_forever()
        loop.run_until_complete(runner.cleanup())
        loop.close()

    thread = threading.Thread(target=serve)
    thread.start()
    started.wait()
    try:
        yield f"http://127.0.0.1:{port[0]}/v1"
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()


@contextlib.contextmanager
def endpoint(answer: Callable[[dict[str, Any]], Awaitable[web.StreamResponse] | web.StreamResponse]) -> Iterator[str]:
    """Run a real HTTP server, whose responses `answer(call)` makes, and yield its base URL."""

    async def handle(request: web.Request) -> web.StreamResponse:
        made = answer({"body": await request.json(), "headers": dict(request.headers), "request": request})
        return await made if inspect.isawaitable(made) else made

    app = web.Application()
    app.router.add_post("/v1/chat/completions", handle)
    app.router.add_post("/openai/deployments/{name}/chat/completions", handle)  # as Azure has it
    with served(app) as url:
        yield url


def logprob_reply(logprobs: dict[str, float]) -> dict[str, Any]:
    """A chat completion of one token with these log-probabilities, the first token being the answer."""
    top = [{"token": token, "logprob": value} for token, value in logprobs.items()]
    message = {"role": "assistant", "content": top[0]["token"] if top else ""}
    return {"choices": [{"index": 0, "message": message, "logprobs": {"content": [{**top[0], "top_logprobs": top}]}}]}


def votes_reply(*contents: str | None) -> dict[str, Any]:
    return {"choices": [{"message": {"content": content}, "logprobs": None} for content in contents]}


def respond(reply: Any, status: int = 200, headers: dict[str, str] | None = None) -> web.Response:
    text = reply if isinstance(reply, str) else json.dumps(reply)
    return aiohttp.web.Response(text=text, status=status, content_type="application/json", headers=headers)
