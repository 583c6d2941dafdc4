"""The calls of a Batch API: upload, create, poll, list and fetch. What passes is waited out, as for single calls."""

import asyncio
import contextlib
import io
import json
import time
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import openai

from qurating.judging.endpoint import transport
from qurating.judging.endpoint.base import Endpoint
from qurating.judging.endpoint.rate_limiter import MAX_PAUSE_SECONDS, retry_after
from qurating.judging.endpoint.refusals import Kind, Refusal
from qurating.judging.endpoint.retries import backoff
from qurating.runtime.errors import StageError

MARK = "qurating"  # key in the metadata of a batch

Result = TypeVar("Result")


class WithinOkError(Exception):
    """A reply of status 200 that holds an error in the place of what was asked for."""

    def __init__(self, refusal: Refusal) -> None:
        super().__init__(str(refusal))
        self.refusal = refusal


class BatchApi:
    """Raises StageError if the endpoint takes no batches, refuses access, or does not answer for too long."""

    def __init__(self, endpoint: Endpoint) -> None:
        self._endpoint = endpoint
        self._client = transport.openai_client(endpoint)

    async def __aenter__(self) -> "BatchApi":
        await self._client.__aenter__()
        return self

    async def __aexit__(self, *error: Any) -> None:
        await self._client.__aexit__(*error)

    async def create(self, content: bytes, digest: str) -> str:
        """Upload an input file and make a batch of it; returns its id.

        If the reply to the creation is lost, the batch is looked for before it is made again: it would be paid twice.
        """

        async def uploaded() -> Any:
            file = f"{MARK}-{digest}.jsonl", io.BytesIO(content)
            return self._checked(await self._client.files.create(file=file, purpose="batch"))

        num_tries = 0

        async def created() -> str:
            nonlocal num_tries
            num_tries += 1
            if num_tries > 1 and (found := (await self._listed()).get(digest)):
                return found
            batch = await self._client.batches.create(
                input_file_id=file.id,
                endpoint="/v1/chat/completions",
                completion_window="24h",
                metadata={MARK: digest},
            )
            return str(self._checked(batch).id)

        file = await self._patiently(uploaded)
        return await self._patiently(created)

    async def retrieve(self, name: str) -> Any:
        """The batch with this id, as the `openai` client has it."""

        async def retrieved() -> Any:
            return self._checked(await self._client.batches.retrieve(name))

        return await self._patiently(retrieved)

    async def content(self, file_id: str) -> bytes:
        """The content of a file, without secrets."""

        async def fetched() -> bytes:
            content = self._endpoint.redaction.content((await self._client.files.content(file_id)).content)
            if b'"custom_id"' not in content[:10_000]:  # no result of a request
                with contextlib.suppress(ValueError):
                    if refusal := self._endpoint.refusal(200, json.loads(content)):
                        raise WithinOkError(refusal)
            return content

        return await self._patiently(fetched)

    async def listed(self) -> dict[str, str]:
        """Ids of the batches at the endpoint by digest."""
        return await self._patiently(self._listed)

    async def _listed(self) -> dict[str, str]:
        found: dict[str, str] = {}
        async for batch in self._client.batches.list(limit=100):
            if digest := (batch.metadata or {}).get(MARK):
                found.setdefault(digest, batch.id)
        return found

    def _checked(self, made: Any) -> Any:
        """A file or batch; raises WithinOkError for anything without an id."""
        if getattr(made, "id", None):
            return made
        said = {**(getattr(made, "model_extra", None) or {})} if not isinstance(made, str) else made
        refusal = self._endpoint.refusal(200, said if isinstance(said, dict) else None)
        raise WithinOkError(refusal or Refusal(Kind.WAIT, 500, self._endpoint.redacted(str(said)), within_200=True))

    async def _patiently(self, call: Callable[[], Awaitable[Result]]) -> Result:
        """The result of a call, which is repeated up to `max_retries` times and for `patience_seconds`."""
        num_failures, since = 0, time.monotonic()
        while True:
            try:
                return await call()
            except openai.APIStatusError as error:
                refusal, pause = self._refusal(error), retry_after(error.response.headers)
            except WithinOkError as error:
                refusal, pause = error.refusal, None
            except openai.APIConnectionError as error:
                refusal, pause, said = None, None, self._endpoint.redacted(str(error.__cause__ or error))
            if refusal is not None and refusal.kind is not Kind.WAIT:
                found = self._endpoint.error_for(refusal)
                is_stop = isinstance(found, StageError)
                raise found if is_stop else self._endpoint.stop_error(f"refuses batches ({refusal})")
            if refusal is not None and (stop := self._endpoint.too_long_a_wait(refusal, pause or 0.0)):
                raise stop
            num_failures += 1
            patient = time.monotonic() - since < self._endpoint.patience_seconds
            if num_failures > self._endpoint.max_retries and not patient:
                raise self._endpoint.stop_error(f"does not answer ({refusal or said})")
            await asyncio.sleep(min(pause, MAX_PAUSE_SECONDS) if pause is not None else backoff(num_failures))

    def _refusal(self, error: openai.APIStatusError) -> Refusal:
        content, body = error.response.content.decode(errors="replace"), None
        if 300 <= error.status_code < 400:
            content = f"redirects to {error.response.headers.get('location', 'nowhere')}"
        with contextlib.suppress(ValueError):
            body = json.loads(content)
        refusal = self._endpoint.refusal(error.status_code, body, content)
        assert refusal is not None  # by its status
        return refusal
