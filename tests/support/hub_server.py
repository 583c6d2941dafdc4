"""A local server that answers as the Hub does."""

import contextlib
import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from huggingface_hub import constants

TOKEN = "hf_aSecretThatNobodyMaySee"


# by path: status, X-Error-Code, X-Error-Message
ANSWERS = {
    "/api/models/lab/open/auth-check": (200, None, None),
    "/api/models/gpt2/auth-check": (200, None, None),
    "/api/datasets/lab/data/auth-check": (200, None, None),
    "/api/datasets/GAIR/lima/auth-check": (403, "GatedRepo", "Access to dataset GAIR/lima is restricted."),
    "/api/models/lab/locked/auth-check": (401, "GatedRepo", "Access to model lab/locked is restricted."),
    "/api/models/lab/absent/auth-check": (404, "RepoNotFound", "Repository not found"),
    "/api/models/lab/stale/auth-check": (401, None, "Invalid credentials in Authorization header"),
    "/api/models/lab/narrow/auth-check": (403, None, "The token has no scope for this"),
    "/api/models/lab/unknown/auth-check": (404, None, None),
    "/api/models/lab/broken/auth-check": (503, None, None),
}


class Hub(ThreadingHTTPServer):
    """Answers ANSWERS, notes what it was asked and by whom, serves one file, and says the commits in `commits`.

    `commits`: by path, such as /api/models/lab/open/revision/v1. `asked_for_commits`: paths and tokens.
    """

    daemon_threads = True

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.asked: list[tuple[str, str | None]] = []
        self.commits: dict[str, str] = {}
        self.asked_for_commits: list[tuple[str, str | None]] = []
        self.never = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_GET(self) -> None:
        path = self.path.partition("?")[0]
        if path.endswith("/auth-check") or "/resolve/" in path:  # the client may ask for other things, too
            self.server.asked.append((path, self.headers.get("Authorization")))
        if path in ("/api/models/lab/silent/auth-check", "/api/models/lab/silent"):
            self.server.never.wait(30)
        if path in self.server.commits:
            self.server.asked_for_commits.append((path, self.headers.get("Authorization")))
            self._answer(200, {}, json.dumps({"id": "lab/open", "sha": self.server.commits[path]}).encode())
            return
        if path == "/datasets/lab/data/resolve/main/train.jsonl":
            self._answer(200, {"ETag": '"abc"', "X-Repo-Commit": "a" * 40}, b'{"text": "a"}\n')
            return
        status, code, message = ANSWERS.get(path, (404, "EntryNotFound", "no such file"))
        if path.startswith("/datasets/GAIR/lima/resolve/"):
            status, code, message = 401, "GatedRepo", "Access to dataset GAIR/lima is restricted."
        self._answer(status, {"X-Error-Code": code, "X-Error-Message": message}, b"{}")

    do_HEAD = do_GET  # noqa: N815  (the name that http.server calls)

    def _answer(self, status: int, headers: dict[str, str | None], body: bytes) -> None:
        self.send_response(status)
        for name, value in headers.items():
            if value is not None:
                self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


def point_to(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """What HF_ENDPOINT does, once the client is imported."""
    monkeypatch.setattr(constants, "ENDPOINT", url)
    monkeypatch.setattr(constants, "HUGGINGFACE_CO_URL_TEMPLATE", url + "/{repo_id}/resolve/{revision}/{filename}")


@contextlib.contextmanager
def serving(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    """The client turned to a server of our own, with an empty cache in `folder`, no login, and no proxy between."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(constants, "HF_TOKEN_PATH", str(folder / "no login"))
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(folder / "cache"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    server = Hub()
    point_to(server.url, monkeypatch)
    threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
    yield server
    server.never.set()
    server.shutdown()
    server.server_close()
