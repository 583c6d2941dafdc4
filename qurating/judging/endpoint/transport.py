"""Sends one request: with aiohttp to plain OpenAI endpoints, with the `openai` client to Azure.

Nothing is retried here: the caller must know how often a request was sent, because each time may be billed. aiohttp
retries only idempotent methods, hence no POST; retries of the `openai` client are switched off.
"""

import contextlib
import re
import resource
import ssl
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any, Protocol

import aiohttp
import openai

from qurating import __version__
from qurating.judging.endpoint.base import Endpoint, NoReplyError, Reply, Request
from qurating.runtime.errors import StageError
from qurating.runtime.masking import without_password

PATH = "/chat/completions"
CONNECT_SECONDS = 30
OTHER_FILES = 100  # that a process may hold open in addition to its connections


class Sender(Protocol):
    async def send(self, request: Request) -> Reply:
        """Post one chat completion, once; raises NoReplyError."""


@contextlib.asynccontextmanager
async def opened(endpoint: Endpoint) -> AsyncIterator[Sender]:
    """A sender for an endpoint; raises StageError for an invalid address or proxy, or a key that is not set."""
    address = _address(endpoint)
    if endpoint.api == "azure":
        async with openai_client(endpoint) as client:
            yield OpenAISender(client, endpoint)
        return
    _allow_sockets(endpoint.max_concurrency)
    headers = {"Content-Type": "application/json", "User-Agent": f"qurating/{__version__}"}
    if endpoint.api_key_variable is not None:
        headers["Authorization"] = f"Bearer {endpoint.api_key()}"
    proxy = None if endpoint.loopback else _proxy_for(address)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=endpoint.max_concurrency, ssl=ssl.create_default_context()),
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=endpoint.timeout_seconds, connect=CONNECT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        request_class=FreshConnectionRequest,
    ) as session:
        yield AiohttpSender(session, endpoint, proxy)


class AiohttpSender:
    """Sends with aiohttp to one address. Redirects are not followed: they would send the key elsewhere."""

    def __init__(self, session: aiohttp.ClientSession, endpoint: Endpoint, proxy: str | None) -> None:
        self._session, self._endpoint, self._proxy = session, endpoint, proxy

    async def send(self, request: Request) -> Reply:
        progress = Progress()
        _progress.set(progress)
        try:
            async with self._session.post(
                self._endpoint.base_url + PATH,
                data=request.content,
                proxy=self._proxy,
                allow_redirects=False,
            ) as reply:
                return Reply(reply.status, reply.headers, self._endpoint.redaction.content(await reply.read()))
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            if progress.sent and isinstance(error, TimeoutError):
                raise NoReplyError(_timed_out(self._endpoint.timeout_seconds), lost=True, timed_out=True) from None
            reason = _reason(self._endpoint, error)
            raise NoReplyError(
                f"no connection: {f'the reply broke off ({reason})' if progress.sent else reason}", lost=progress.sent
            ) from None


@dataclass
class Progress:
    """Of one request. `sent`: it is being written to a connection, though it may not arrive."""

    sent: bool = False


_progress: ContextVar[Progress] = ContextVar("progress")  # of the request that the running task sends


class FreshConnectionRequest(aiohttp.ClientRequest):
    """A request that notes when it is sent, and rejects a connection on which data arrived before.

    aiohttp would read that data as the reply, and the true reply as the reply to the next request on the connection.
    (aiohttp's own tracing would note it, too, at a tenth of the CPU time of a call.)
    """

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        if conn.protocol.should_close:
            raise aiohttp.ClientConnectionError("the server sent data on an idle connection, unasked")
        _progress.get().sent = True
        return await super().send(conn)


def _address(endpoint: Endpoint) -> urllib.parse.SplitResult:
    try:
        address = urllib.parse.urlsplit(endpoint.base_url)
        valid = address.scheme in ("http", "https") and address.hostname and address.port != 0
    except ValueError:  # an invalid port, or an invalid address in brackets
        valid = False
    if not valid:
        raise StageError(f"judge.base_url={without_password(endpoint.base_url)} is not an http:// or https:// address")
    if address.username is not None and endpoint.api_key_variable is not None:
        raise StageError(
            f"judge.base_url holds a user name, and {endpoint.api_key_variable} a key: only one of them can be sent"
        )
    return address


def _allow_sockets(number: int) -> None:
    """Raise the limit on open files to fit this many sockets; raises StageError if the system forbids it."""
    wanted = number + OTHER_FILES
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != most < wanted:
        raise StageError(
            f"judge.max_concurrency={number} needs {wanted} open files, but the system allows this process {most}: "
            "lower it, or raise the hard limit (`ulimit -Hn`)"
        )
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _proxy_for(address: urllib.parse.SplitResult) -> str | None:
    """The proxy that the environment names for an address; raises StageError for an unsupported kind.

    Looked up once. aiohttp would do it for every request, and would also send credentials from `.netrc`.
    """
    proxies = urllib.request.getproxies()
    proxy = proxies.get(address.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(address.netloc.rpartition("@")[2]):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    scheme = proxy.partition("://")[0]
    if scheme not in ("http", "https"):
        raise StageError(
            f"the environment names a {scheme} proxy for {address.scheme}:// addresses, which is not supported: set "
            f"{address.scheme}_proxy to an http or https proxy, or no_proxy={address.hostname}"
        )
    return proxy


def openai_client(endpoint: Endpoint) -> openai.AsyncOpenAI:
    """The `openai` client of an endpoint, without its retries: ours go through the rate limiter and the costs."""
    given: dict[str, Any] = {"api_key": endpoint.api_key(), "timeout": endpoint.timeout_seconds, "max_retries": 0}
    if endpoint.api == "azure":
        return openai.AsyncAzureOpenAI(azure_endpoint=endpoint.base_url, api_version=endpoint.api_version, **given)
    http = openai.DefaultAsyncHttpxClient(trust_env=not endpoint.loopback, follow_redirects=False)
    return openai.AsyncOpenAI(base_url=endpoint.base_url, http_client=http, **given)


class OpenAISender:
    """Sends with the `openai` client, to Azure."""

    def __init__(self, client: openai.AsyncOpenAI, endpoint: Endpoint) -> None:
        self._client, self._endpoint = client, endpoint

    async def send(self, request: Request) -> Reply:
        body = request.body
        others = {key: value for key, value in body.items() if key not in ("model", "messages")}
        try:
            raw = await self._client.chat.completions.with_raw_response.create(
                model=body["model"], messages=body["messages"], extra_body=others
            )
            return Reply(raw.status_code, raw.headers, self._endpoint.redaction.content(raw.content))
        except openai.APIStatusError as error:
            content = self._endpoint.redaction.content(error.response.content)
            return Reply(error.status_code, error.response.headers, content)
        except openai.APIConnectionError as error:
            cause = error.__cause__ or error
            sent = "Connect" not in type(cause).__name__
            if sent and isinstance(error, openai.APITimeoutError):
                raise NoReplyError(_timed_out(self._endpoint.timeout_seconds), lost=True, timed_out=True) from None
            raise NoReplyError(f"no connection: {_reason(self._endpoint, cause)}", lost=sent) from None


def _reason(endpoint: Endpoint, error: BaseException) -> str:
    """The message of a library's error, without the key and without the account in a proxy's address."""
    return endpoint.redacted(re.sub(r"//[^/@\s]*@", "//***@", str(error)) or type(error).__name__)


def _timed_out(seconds: float) -> str:
    return f"no reply within {seconds:g} seconds"
