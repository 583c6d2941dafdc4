"""A server for the client of Weights & Biases: it answers as far as a run needs, refuses keys, or fails."""

import contextlib
import json
import re
import threading
from collections.abc import Iterator
from http.server import ThreadingHTTPServer
from typing import Any

from json_answers import JsonHandler

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
_PROJECTS = {"edges": [], "pageInfo": {"__typename": "PageInfo", "endCursor": None, "hasNextPage": False}}
_PROJECT = {"id": "1", "name": "p", "entity": {"id": "1", "name": "me"}}


class Server(ThreadingHTTPServer):
    """`refusal`: the answer in place of an account, (status, content); None: GOOD_KEY is of an account.

    `fails_after`: the name of a query, after whose answer every request gets HTTP 503. `project`: whether it exists.
    `asked`: what was asked so far; `saved`: the views that were sent.
    """

    refusal: tuple[int, Any] | None = None
    fails_after = ""
    fails = False
    project = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[str] = []
        self.saved: list[dict[str, Any]] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(JsonHandler):
    protocol_version = "HTTP/1.1"
    server: Server

    def post(self) -> None:
        body = self.body()
        query = json.loads(body)["query"] if self.path == "/graphql" else ""
        found = re.search(r"(?:query|mutation)\s+(\w+)", query)
        asked = found[1] if found else self.path
        self.server.asked.append(str(asked))
        if self.server.fails:
            return self.answer(503, {"error": "down"})
        if asked == "Viewer" and self.server.refusal is not None:
            return self.answer(*self.server.refusal)
        data: dict[str, Any] = {"Viewer": {"viewer": _VIEWER}, "GetDefaultEntity": {"viewer": _VIEWER}}
        data |= {"RunResumeStatus": {"model": None}, "GetProjects": {"models": _PROJECTS}}
        data["ProjectInternalId"] = {"project": self.server.project and {"internalId": "1"}}
        data["UpsertBucket"] = {"upsertBucket": {"bucket": {**_BUCKET, "project": _PROJECT}, "inserted": True}}
        if str(asked).lower().startswith("upsertview"):
            given = json.loads(body)["variables"]
            self.server.saved.append(given)
            view: dict[str, Any] = {key: given[key] for key in ("name", "displayName", "spec")} | {"id": "view"}
            project = _PROJECT | {"entityName": "me"}
            data[str(asked)] = {
                "upsertView": {"view": view | {"description": "", "project": project}, "inserted": True}
            }
        self.answer(200, {"data": data.get(str(asked), {})})
        self.server.fails = asked == self.server.fails_after

    def get(self) -> None:
        self.answer(503 if self.server.fails else 200, {})


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
