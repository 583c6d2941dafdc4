"""How a question travels: through aiohttp where the endpoint is plain OpenAI, else by the `openai` client.

A call through the client costs nearly two milliseconds of Python, through aiohttp half a millisecond with all that is
done around it: see benchmarks/README.md.
"""

import contextlib
import urllib.parse
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import aiohttp
import openai

from qurating import __version__
from qurating.journal import Request

if TYPE_CHECKING:
    from qurating.clients import Endpoint

PATH = "/chat/completions"


class Reply(NamedTuple):
    """An HTTP reply of any status; names of headers in lower case."""

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
    headers = {"Content-Type": "application/json", "User-Agent": f"qurating/{__version__}"}
    if endpoint.api_key_variable is not None:
        headers["Authorization"] = f"Bearer {endpoint.api_key()}"
    async with aiohttp.ClientSession(
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=endpoint.timeout_seconds),
        connector=aiohttp.TCPConnector(limit=0),  # how many are in flight is for `pacing` to say
        trust_env=not endpoint.loopback,  # proxies
    ) as session:
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
    """Through aiohttp, to one address. Redirects are not followed: they would carry the key elsewhere."""

    def __init__(self, session: aiohttp.ClientSession, url: str, timeout_seconds: float) -> None:
        self._session, self._url, self._timeout_seconds = session, url, timeout_seconds

    async def send(self, request: Request) -> Reply:
        """Post one chat completion; raises NoReplyError."""
        try:
            async with self._session.post(self._url, data=request.content, allow_redirects=False) as response:
                headers = {name.lower(): value for name, value in response.headers.items()}
                return Reply(response.status, headers, await response.read())
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError, aiohttp.InvalidURL) as error:
            raise NoReplyError(f"no connection: {error}", lost=False) from None
        except TimeoutError:
            raise NoReplyError(_too_late(self._timeout_seconds), lost=True, timed_out=True) from None
        except (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError, aiohttp.ClientOSError):
            raise NoReplyError("no connection: it was closed before the reply was complete", lost=True) from None
        except aiohttp.ClientError:
            raise NoReplyError("no connection: what came back is not HTTP", lost=True) from None


def _too_late(seconds: float) -> str:
    return f"no reply within {seconds:g} seconds"
