"""Requests per second of the judge's client against a server with 0.5 s of latency, and its memory.

    python benchmarks/judging.py [num_requests]

1,024 requests are in flight at once; 1,024 / 0.5 s is the ideal. The server is a bare protocol in its own process,
prompts are 4.5 KB, and the client is used as in the stage: parsing, a limit on costs, the response log. The steady rate
excludes the start, when the client increases its concurrency from 32, and the end, when it has no requests left.
For comparison: one request after the other, as in the released code.
"""

import asyncio
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import openai

sys.path.insert(0, str(Path(__file__).parents[1]))

from qurating.judging.endpoint import replies
from qurating.judging.endpoint.base import Endpoint, Request
from qurating.judging.endpoint.client import open_client
from qurating.judging.endpoint.costs import Price, Spending
from qurating.judging.endpoint.response_log import Answer, ResponseLog

LATENCY_SECONDS, CONCURRENCY = 0.5, 1024
IDEAL = CONCURRENCY / LATENCY_SECONDS
WARM_UP = 10_000  # requests, after which memory should not grow any more
TEXT = "A paragraph of some length that stands where two texts would. " * 72
TOP = [{"token": "A", "logprob": -0.3}, {"token": "B", "logprob": -1.4}]
REPLY = {
    "choices": [{"message": {"content": "A"}, "logprobs": {"content": [{**TOP[0], "top_logprobs": TOP}]}}],
    "usage": {"prompt_tokens": 1000, "completion_tokens": 1},
}


def body(number: int) -> dict[str, Any]:
    message = {"role": "user", "content": f"{number} {TEXT}"}
    return {"model": "m", "messages": [message], "max_tokens": 1, "logprobs": True, "top_logprobs": 20}


class Answering(asyncio.Protocol):
    """Reads a request by its Content-Length and answers after the latency."""

    reply = json.dumps(REPLY).encode()
    reply = b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % len(reply) + reply

    def connection_made(self, transport: Any) -> None:
        self.transport, self.missing, self.head = transport, 0, b""

    def data_received(self, data: bytes) -> None:
        if self.missing:
            self.missing -= len(data)
        else:
            self.head += data
            end = self.head.find(b"\r\n\r\n")
            if end < 0:
                return
            length = self.head[:end].lower().split(b"content-length:")[1].split(b"\r\n")[0]
            self.missing, self.head = int(length) - (len(self.head) - end - 4), b""
        if self.missing <= 0:
            asyncio.get_running_loop().call_later(LATENCY_SECONDS, self.transport.write, self.reply)


async def serve() -> None:
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0, backlog=2 * CONCURRENCY)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


class Measured(NamedTuple):
    """One run: requests per second, CPU time per request, peak memory after the warm-up and at the end."""

    whole: float
    steady: float
    cpu_microseconds: float
    early_mib: float
    late_mib: float


async def by_client(port: int, num_requests: int, folder: Path) -> Measured:
    """The client of the judge, used as in the stage."""
    answered: list[float] = []  # times, one per CONCURRENCY requests
    num_answered, early_mib = 0, 0.0
    spending = Spending(Price(0.15, 0.6, "benchmark"), 1e6)
    where = Endpoint(
        base_url=f"http://127.0.0.1:{port}/v1",
        model="m",
        max_concurrency=CONCURRENCY,
        timeout_seconds=60.0,
        max_retries=0,
        loopback=True,
    )

    def requests() -> Iterator[Request]:
        for number in range(num_requests):
            yield Request(number, body(number))

    def record(position: int, answer: Answer) -> None:
        nonlocal num_answered, early_mib
        num_answered += answer.values is not None
        if num_answered == WARM_UP:
            early_mib = peak_mib()
        if num_answered % CONCURRENCY == 0:
            answered.append(time.perf_counter())

    with contextlib.closing(ResponseLog(folder / "journal.jsonl")) as response_log:
        started, cpu = time.perf_counter(), time.process_time()
        async with open_client(where, response_log, spending) as client:
            await client.ask_all(requests(), lambda reply: list(replies.weights_from_logprobs(reply)), record)
        seconds = time.perf_counter() - started
    assert num_answered == num_requests
    rounds = answered[4:-1]  # by the fourth round the client runs at full concurrency; the last round is incomplete
    steady = CONCURRENCY * (len(rounds) - 1) / (rounds[-1] - rounds[0])
    cpu_microseconds = 1e6 * (time.process_time() - cpu) / num_requests
    return Measured(num_requests / seconds, steady, cpu_microseconds, early_mib, peak_mib())


def sequential(port: int, num_requests: int) -> float:
    started = time.perf_counter()
    with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none") as client:
        for number in range(num_requests):
            client.chat.completions.create(**body(number))
    return num_requests / (time.perf_counter() - started)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(num_requests: int) -> None:
    server = subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = int(server.stdout.readline())
    try:
        with tempfile.TemporaryDirectory() as folder:
            print(f"load average                    {os.getloadavg()[0]:8.1f}")
            print(f"ideal, concurrency / latency    {IDEAL:8,.0f} requests/s", flush=True)
            found = asyncio.run(by_client(port, WARM_UP + num_requests, Path(folder)))
            for name, rate in (("the judge's client, steady", found.steady), ("  with its start and end", found.whole)):
                print(f"{name:30s}  {rate:8,.0f} requests/s, {100 * rate / IDEAL:.1f} % of the ideal")
            print(f"  CPU per request               {found.cpu_microseconds:8,.0f} µs")
            print(f"one after the other             {sequential(port, 20):8,.1f} requests/s")
            print(f"peak memory                     {found.early_mib:8.1f} MiB after {WARM_UP:,} requests, "
                  f"{found.late_mib:.1f} MiB after {num_requests:,} more")  # fmt: skip
            print(f"load average                    {os.getloadavg()[0]:8.1f}")
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve())
    else:
        main(int(sys.argv[1]) if len(sys.argv) > 1 else 100_000)
