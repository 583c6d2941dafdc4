"""Requests per second of the judge's client against a server with 50 ms of latency, and its memory.

    python benchmarks/judging.py [num_requests] [num_requests_for_memory]

In one run, on one machine: what the server can do (a bare load generator in a process of its own, without parsing,
costs or journal), what the judge's client gets out of it at 256 requests at once, and the loop over one request after
the other that the released code is. The server is a bare protocol in its own process. Prompts are 4.5 KB.
"""

import asyncio
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import openai

sys.path.insert(0, str(Path(__file__).parents[1]))

from qurating.judging import preferences
from qurating.judging.endpoint import client as endpoint_client
from qurating.judging.endpoint.costs import Price, Spending
from qurating.judging.endpoint.response_log import Answer, Journal, Request

LATENCY_SECONDS, CONCURRENCY = 0.05, 256
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
    server = await asyncio.get_running_loop().create_server(Answering, "127.0.0.1", 0, backlog=1024)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


async def load(port: int, num_requests: int) -> float:
    """The bare load generator: one prepared request, replies counted by their length."""
    content = json.dumps(body(0)).encode()
    message = b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n" % len(content) + content
    left, done = iter(range(num_requests)), asyncio.Event()
    num_open = CONCURRENCY

    class Asking(asyncio.Protocol):
        def connection_made(self, transport: Any) -> None:
            self.transport, self.received = transport, 0
            self.ask()

        def ask(self) -> None:
            nonlocal num_open
            if next(left, None) is None:
                num_open -= 1
                if not num_open:
                    done.set()
            else:
                self.transport.write(message)

        def data_received(self, data: bytes) -> None:
            self.received += len(data)
            if self.received >= len(Answering.reply):
                self.received = 0
                self.ask()

    started = time.perf_counter()
    for _ in range(CONCURRENCY):
        await asyncio.get_running_loop().create_connection(Asking, "127.0.0.1", port)
    await done.wait()
    return num_requests / (time.perf_counter() - started)


async def by_client(port: int, num_requests: int, folder: Path) -> tuple[float, float]:
    """The judge's client as the stage uses it: parsing, a cap on costs, journal. Requests a second, CPU a call."""
    journal, num_answered = Journal(folder / f"{num_requests}.jsonl"), 0
    spending = Spending(Price(0.15, 0.6, "benchmark"), 1e6)
    where = endpoint_client.Endpoint(f"http://127.0.0.1:{port}/v1", "m", None, CONCURRENCY, 60.0, 0, loopback=True)

    def requests() -> Iterator[Request]:
        for number in range(num_requests):
            yield Request(number, body(number))

    def record(position: int, answer: Answer) -> None:
        nonlocal num_answered
        num_answered += answer.values is not None

    started, cpu = time.perf_counter(), time.process_time()
    async with endpoint_client.opened(where, journal, spending) as asking:
        await asking.ask_all(requests(), lambda reply: list(preferences.weights_from_logprobs(reply)), record)
    journal.close()
    assert num_answered == num_requests
    return num_requests / (time.perf_counter() - started), 1e6 * (time.process_time() - cpu) / num_requests


def sequential(port: int, num_requests: int) -> float:
    started = time.perf_counter()
    with openai.OpenAI(base_url=f"http://127.0.0.1:{port}/v1", api_key="none") as client:
        for number in range(num_requests):
            client.chat.completions.create(**body(number))
    return num_requests / (time.perf_counter() - started)


def peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def main(num_requests: int, num_for_memory: int) -> None:
    itself = [sys.executable, __file__]
    server = subprocess.Popen([*itself, "serve"], stdout=subprocess.PIPE, text=True)
    assert server.stdout is not None
    port = int(server.stdout.readline())
    try:
        with tempfile.TemporaryDirectory() as folder:
            asyncio.run(by_client(port, 1000, Path(folder)))  # warm
            ceilings, rates, cpus = [], [], []
            for _ in range(3):  # in turn: the machine may have other things to do
                found = subprocess.run([*itself, "load", str(port), str(num_requests)], capture_output=True, check=True)
                ceilings.append(float(found.stdout))
                rate, cpu = asyncio.run(by_client(port, num_requests, Path(folder)))
                Path(folder, f"{num_requests}.jsonl").unlink()
                rates.append(rate)
                cpus.append(cpu)
            ideal = CONCURRENCY / LATENCY_SECONDS
            bars = [rate / min(ideal, ceiling) for rate, ceiling in zip(rates, ceilings, strict=True)]
            print(f"ideal, concurrency / latency   {ideal:8,.0f} requests/s")
            print("the server alone               ", *(f"{value:8,.0f}" for value in ceilings))
            print("the judge's client             ", *(f"{value:8,.0f}" for value in rates))
            print("  CPU a request, µs            ", *(f"{value:8,.0f}" for value in cpus))
            print("  of the lower of the two, %   ", *(f"{100 * value:8,.0f}" for value in bars))
            print(f"one after the other            {sequential(port, 100):8,.1f}")
            asyncio.run(by_client(port, num_for_memory // 10, Path(folder)))
            before = peak_mib()
            asyncio.run(by_client(port, num_for_memory, Path(folder)))
            print(f"peak memory after {num_for_memory // 10:,} requests {before:,.1f} MiB, "
                  f"after {num_for_memory:,} more {peak_mib():,.1f} MiB")  # fmt: skip
    finally:
        server.kill()
        server.wait()


if __name__ == "__main__":
    if sys.argv[1:2] == ["serve"]:
        asyncio.run(serve())
    elif sys.argv[1:2] == ["load"]:
        print(asyncio.run(load(int(sys.argv[2]), int(sys.argv[3]))))
    else:
        main(*(int(sys.argv[i]) if len(sys.argv) > i else default for i, default in ((1, 20_000), (2, 100_000))))
