"""How a question travels: through pyreqwest where the endpoint is plain OpenAI, else by the `openai` client.

A call through the client costs nearly two milliseconds, through pyreqwest a fraction of one with all that is done
around it: see benchmarks/README.md.
"""

import contextlib
import datetime
import urllib.parse
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import openai
from pyreqwest import exceptions
from pyreqwest.client import Client, ClientBuilder

from qurating import __version__
from qurating.journal import Request

if TYPE_CHECKING:
    from qurating.clients import Endpoint

PATH = "/chat/completions"
MAX_CONNECT_TIME = datetime.timedelta(seconds=15)


class Reply(NamedTuple):
    """An HTTP reply of any status; names of headers are looked up in lower case."""

    status: int
    headers: Mapping[str, str]
    content: bytes


class NoReplyError(Exception):
    """No reply. `lost`: the request had been sent, and may have been answered and billed."""

    def __init__(self, message: str, lost: bool, timed_out: bool = False) -> None:
        super().__init__(message)
        self.lost, self.timed_out = lost, timed_out


class Sender(Protocol):
    async def send(self, request: Request) -> Reply: ...


def client(endpoint: "Endpoint") -> openai.AsyncOpenAI:
    """The `openai` client of an endpoint, without retries: those are ours, so that the pace and the costs see them."""
    given: dict[str, Any] = {"api_key": endpoint.api_key(), "timeout": endpoint.timeout_seconds, "max_retries": 0}
    if endpoint.api == "azure":
        return openai.AsyncAzureOpenAI(azure_endpoint=endpoint.base_url, api_version=endpoint.api_version, **given)
    http = openai.DefaultAsyncHttpxClient(trust_env=not endpoint.loopback)
    return openai.AsyncOpenAI(base_url=endpoint.base_url, http_client=http, **given)


@contextlib.asynccontextmanager
async def opened(endpoint: "Endpoint", by_client: openai.AsyncOpenAI) -> AsyncIterator[Sender]:
    """The quickest way there that serves; raises ValueError for an address that is none."""
    place = urllib.parse.urlsplit(endpoint.base_url)
    if place.scheme not in ("http", "https") or not place.hostname:
        raise ValueError(f"{endpoint.base_url} is no http:// or https:// address")
    if endpoint.api != "openai":
        yield ByClient(by_client, endpoint.timeout_seconds)
        return
    headers = {"Content-Type": "application/json"}
    if endpoint.api_key_variable is not None:
        headers["Authorization"] = f"Bearer {endpoint.api_key()}"
    # redirects would carry the key elsewhere; how many are in flight is for `pacing` to say
    builder = ClientBuilder().default_headers(headers).user_agent(f"qurating/{__version__}").follow_redirects(False)
    timeout = datetime.timedelta(seconds=endpoint.timeout_seconds)
    builder = builder.timeout(timeout).connect_timeout(min(timeout * 0.9, MAX_CONNECT_TIME))
    async with (builder.no_proxy() if endpoint.loopback else builder).build() as session:
        yield Direct(session, endpoint.base_url + PATH, endpoint.timeout_seconds)


class ByClient:
    """Through the `openai` client: Azure."""

    def __init__(self, by_client: openai.AsyncOpenAI, timeout_seconds: float) -> None:
        self._client, self._timeout_seconds = by_client, timeout_seconds

    async def send(self, request: Request) -> Reply:
        """Post one chat completion; raises NoReplyError."""
        body = request.body
        others = {key: value for key, value in body.items() if key not in ("model", "messages")}
        try:
            raw = await self._client.chat.completions.with_raw_response.create(
                model=body["model"], messages=body["messages"], extra_body=others
            )
            return Reply(raw.status_code, raw.headers, raw.content)
        except openai.APIStatusError as error:
            return Reply(error.status_code, error.response.headers, error.response.content)
        except openai.APIConnectionError as error:
            cause = type(error.__cause__ or error).__name__
            if isinstance(error, openai.APITimeoutError) and "Connect" not in cause:
                raise NoReplyError(_too_late(self._timeout_seconds), lost=True, timed_out=True) from None
            raise NoReplyError(f"no connection: {error.__cause__ or error}", lost="Connect" not in cause) from None


class Direct:
    """Through pyreqwest, to one address."""

    def __init__(self, session: Client, url: str, timeout_seconds: float) -> None:
        self._session, self._url, self._timeout_seconds = session, url, timeout_seconds

    async def send(self, request: Request) -> Reply:
        """Post one chat completion; raises NoReplyError."""
        try:
            response = await self._session.post(self._url).body_bytes(request.content).build().send()
            return Reply(response.status, response.headers, (await response.bytes()).to_bytes())
        except exceptions.RequestError as error:
            said = [cause["message"] for cause in error.details["causes"] or []] or [error.message]
            if any("(Connect)" in message for message in said):  # the types of errors do not tell this apart
                raise NoReplyError(f"no connection: {said[-1]}", lost=False) from None
            if isinstance(error, exceptions.RequestTimeoutError):
                raise NoReplyError(_too_late(self._timeout_seconds), lost=True, timed_out=True) from None
            raise NoReplyError(f"no connection: the reply broke off ({said[-1]})", lost=True) from None


def _too_late(seconds: float) -> str:
    return f"no reply within {seconds:g} seconds"
