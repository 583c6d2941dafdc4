"""A local server that imitates the files and batches of the API over real HTTP, for the real `openai` client."""

import contextlib
import json
from collections.abc import Callable, Iterator
from typing import Any

from aiohttp import web
from judge_fixtures import served


class BatchServer:
    """`answer(body)` returns (status, body) of a line, or None for a line that expires; `refuse` may refuse a batch."""

    def __init__(self, answer: Callable[[dict[str, Any]], tuple[int, Any] | None]) -> None:
        self.answer = answer
        self.refuse: Callable[[list[Any]], dict[str, str] | None] = lambda lines: None
        self.files: dict[str, bytes] = {}
        self.batches: dict[str, dict[str, Any]] = {}
        self.polls_until_done = 1
        self.down = False
        self.trouble: Callable[[str], tuple[int, Any] | str | None] = lambda path: None  # instead, or "lost": after it
        self.headers: dict[str, str] = {}  # of trouble
        self.after_create: Callable[[], None] = lambda: None
        self.online: Callable[[dict[str, Any]], tuple[int, Any] | None] = answer

    def sizes(self) -> list[int]:
        return [len(self.files[batch["input_file_id"]].splitlines()) for batch in self.batches.values()]

    async def upload(self, request: web.Request) -> web.Response:
        form = await request.post()
        assert form["purpose"] == "batch"
        name = f"file-{len(self.files)}"
        self.files[name] = form["file"].file.read()  # type: ignore[union-attr]
        return web.json_response({"id": name, "object": "file", "bytes": len(self.files[name]), "created_at": 0,
                                  "filename": "x", "purpose": "batch", "status": "processed"})  # fmt: skip

    async def content(self, request: web.Request) -> web.Response:
        return web.Response(body=self.files[request.match_info["id"]])

    async def create(self, request: web.Request) -> web.Response:
        given = await request.json()
        batch = {"id": f"batch-{len(self.batches)}", "object": "batch", "created_at": 0, "status": "validating",
                 "endpoint": given["endpoint"], "input_file_id": given["input_file_id"], "polls": 0,
                 "completion_window": given["completion_window"], "metadata": given.get("metadata")}  # fmt: skip
        assert given["endpoint"] == "/v1/chat/completions"
        self.batches[batch["id"]] = batch
        self.after_create()
        return web.json_response(batch)

    async def retrieve(self, request: web.Request) -> web.Response:
        if self.down:
            return web.json_response({"error": {"message": "maintenance"}}, status=503)
        batch = self.batches[request.match_info["id"]]
        batch["polls"] += 1
        if batch["status"] == "validating" and batch["polls"] >= self.polls_until_done:
            self.finish(batch)
        return web.json_response(batch)

    def finish(self, batch: dict[str, Any]) -> None:
        lines = [json.loads(line) for line in self.files[batch["input_file_id"]].splitlines()]
        if error := self.refuse(lines):
            batch |= {"status": "failed", "errors": {"object": "list", "data": [error]}}
            return
        output: list[str] = []
        errors: list[str] = []
        for line in reversed(lines):  # the order is not that of the input
            found = self.answer(line["body"])
            if found is None:
                entry = {"custom_id": line["custom_id"], "response": None, "error": {"code": "batch_expired"}}
            else:
                entry = {"custom_id": line["custom_id"], "response": {"status_code": found[0], "body": found[1]}}
            (output if found and found[0] == 200 else errors).append(json.dumps(entry) + "\n")
        batch["status"] = "completed" if not any(self.answer(line["body"]) is None for line in lines) else "expired"
        for kind, made in (("output_file_id", output), ("error_file_id", errors)):
            if made:
                name = f"file-{len(self.files)}"
                self.files[name] = "".join(made).encode()
                batch[kind] = name

    async def listed(self, request: web.Request) -> web.Response:
        return web.json_response({"object": "list", "data": list(self.batches.values()), "has_more": False})

    async def chat(self, request: web.Request) -> web.Response:
        status, body = self.online(await request.json()) or (500, {})
        return web.json_response(body, status=status)

    @contextlib.contextmanager
    def serving(self) -> Iterator[str]:
        @web.middleware
        async def trouble(request: web.Request, handler: Any) -> web.StreamResponse:
            found = self.trouble(f"{request.method} {request.path}")
            if isinstance(found, tuple):
                return web.json_response(found[1], status=found[0], headers=self.headers)
            reply: web.StreamResponse = await handler(request)
            if found == "lost" and request.transport is not None:
                request.transport.close()
            return reply

        app = web.Application(client_max_size=2**30, middlewares=[trouble])
        app.router.add_post("/v1/files", self.upload)
        app.router.add_get("/v1/files/{id}/content", self.content)
        app.router.add_post("/v1/batches", self.create)
        app.router.add_get("/v1/batches", self.listed)
        app.router.add_get("/v1/batches/{id}", self.retrieve)
        app.router.add_post("/v1/chat/completions", self.chat)
        with served(app) as url:
            yield url
