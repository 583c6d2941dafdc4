"""A server for the client of Weights & Biases: it answers as far as a run needs, refuses keys, or fails."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

GOOD_KEY = "k" * 40
_VIEWER = {
    "id": "1",
    "entity": "me",
    "username": "me",
    "email": "me@example.org",
    "flags": "{}",
    "teams": {"edges": []},
}
_BUCKET = {"id": "1", "name": "0123", "displayName": "n", "description": "", "config": "{}", "historyLineCount": 0}
_PROJECT = {"id": "1", "name": "p", "entity": {"id": "1", "name": "me"}}


class Server(ThreadingHTTPServer):
    """`refusal`: the answer in place of an account, (status, content); None: GOOD_KEY is of an account.

    `fails_after`: the name of a query, after whose answer every request gets HTTP 503. `asked`: what was asked so far.
    """

    refusal: tuple[int, Any] | None = None
    fails_after = ""
    fails = False

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        asked = json.loads(body).get("operationName") if self.path == "/graphql" else self.path
        self.server.asked.append(str(asked))
        if self.server.fails:
            return self._answer(503, {"error": "down"})
        if asked == "Viewer" and self.server.refusal is not None:
            return self._answer(*self.server.refusal)
        data = {"Viewer": {"viewer": _VIEWER}, "RunResumeStatus": {"model": None}}
        data["UpsertBucket"] = {"upsertBucket": {"bucket": {**_BUCKET, "project": _PROJECT}, "inserted": True}}
        self._answer(200, {"data": data.get(str(asked), {})})
        self.server.fails = asked == self.server.fails_after

    def do_GET(self) -> None:
        self._answer(503 if self.server.fails else 200, {})

    def _answer(self, status: int, content: Any) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@contextlib.contextmanager
def wandb_server() -> Iterator[Server]:
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            server.shutdown()
            thread.join()
