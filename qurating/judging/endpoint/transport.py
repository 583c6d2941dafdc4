"""How a request travels: by aiohttp where the endpoint is plain OpenAI, by the `openai` client for Azure.

Nothing here is tried again: whoever asks must know how often a question went out, for it may be billed each time.
aiohttp repeats no POST by itself (only methods that are idempotent), and the `openai` client is told not to.
"""

import contextlib
import re
import resource
import ssl
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator
from types import SimpleNamespace
from typing import Any, Protocol

import aiohttp
import openai

from qurating import __version__
from qurating.judging.endpoint.base import Endpoint, NoReplyError, Reply
from qurating.judging.endpoint.response_log import Request
from qurating.runtime.errors import StageError

PATH = "/chat/completions"
CONNECT_SECONDS = 30
OTHER_FILES = 100  # that a process may hold open beside its connections


class Sender(Protocol):
    async def send(self, request: Request) -> Reply:
        """Post one chat completion, once; raises NoReplyError."""


@contextlib.asynccontextmanager
async def opened(endpoint: Endpoint) -> AsyncIterator[Sender]:
    """A way to an endpoint; raises StageError for an address or a proxy that is none, and for a key that is not set."""
    place = _address(endpoint)
    if endpoint.api == "azure":
        async with openai_client(endpoint) as client:
            yield ByClient(client, endpoint)
        return
    _allow_sockets(endpoint.max_concurrency)
    headers = {"Content-Type": "application/json", "User-Agent": f"qurating/{__version__}"}
    if endpoint.api_key_variable is not None:
        headers["Authorization"] = f"Bearer {endpoint.api_key()}"
    proxy = None if endpoint.loopback else _proxy_for(place)
    trace = aiohttp.TraceConfig()
    trace.on_request_headers_sent.append(_note_sent)
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=endpoint.max_concurrency, ssl=ssl.create_default_context()),
        headers=headers,
        timeout=aiohttp.ClientTimeout(total=endpoint.timeout_seconds, connect=CONNECT_SECONDS),
        cookie_jar=aiohttp.DummyCookieJar(),
        request_class=UnansweredYet,
        trace_configs=[trace],
    ) as session:
        yield Direct(session, endpoint, proxy)


class Direct:
    """By aiohttp, to one address. Redirects are not followed: they would carry the key elsewhere."""

    def __init__(self, session: aiohttp.ClientSession, endpoint: Endpoint, proxy: str | None) -> None:
        self._session, self._endpoint, self._proxy = session, endpoint, proxy

    async def send(self, request: Request) -> Reply:
        trip = SimpleNamespace(sent=False)
        try:
            async with self._session.post(
                self._endpoint.base_url + PATH,
                data=request.content,
                proxy=self._proxy,
                allow_redirects=False,
                trace_request_ctx=trip,
            ) as reply:
                return Reply(reply.status, reply.headers, await reply.read())
        except (aiohttp.ClientError, OSError) as error:  # TimeoutError is an OSError
            if trip.sent and isinstance(error, TimeoutError):
                raise NoReplyError(_too_late(self._endpoint.timeout_seconds), lost=True, timed_out=True) from None
            said = _said(self._endpoint, error)
            raise NoReplyError(
                f"no connection: {f'the reply broke off ({said})' if trip.sent else said}", lost=trip.sent
            ) from None


class UnansweredYet(aiohttp.ClientRequest):
    """A request that takes no connection on which something was received before it was sent.

    aiohttp would take that for the reply, and the reply for that of the next request on the connection.
    """

    async def send(self, conn: Any) -> aiohttp.ClientResponse:
        if conn.protocol.should_close:
            raise aiohttp.ClientConnectionError("the other side spoke on an idle connection, unasked")
        return await super().send(conn)


async def _note_sent(
    session: aiohttp.ClientSession, context: SimpleNamespace, params: aiohttp.TraceRequestHeadersSentParams
) -> None:
    """From here on the request counts as sent, though it may not get far: there is a connection, and it is written."""
    context.trace_request_ctx.sent = True


def _address(endpoint: Endpoint) -> urllib.parse.SplitResult:
    try:
        place = urllib.parse.urlsplit(endpoint.base_url)
        whole = place.scheme in ("http", "https") and place.hostname and place.port != 0
    except ValueError:  # a port, or an address in brackets, that is none
        whole = False
    if not whole:
        raise StageError(f"judge.base_url: {endpoint.base_url} is no http:// or https:// address")
    if place.username is not None and endpoint.api_key_variable is not None:
        raise StageError(
            f"judge.base_url holds a user's name, and {endpoint.api_key_variable} a key: only one of them can be sent"
        )
    return place


def _allow_sockets(number: int) -> None:
    """See to it that so many sockets can be open beside other files; raises StageError if the system forbids it."""
    wanted = number + OTHER_FILES
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if resource.RLIM_INFINITY != most < wanted:
        raise StageError(
            f"judge.max_concurrency={number} takes {wanted} open files, and the system allows this process {most}: "
            "lower it, or raise the hard limit (`ulimit -Hn`)"
        )
    if allowed != resource.RLIM_INFINITY and allowed < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, most))


def _proxy_for(place: urllib.parse.SplitResult) -> str | None:
    """The proxy that the environment names for an address; raises StageError for a kind that cannot be used.

    Looked up once, where aiohttp would do it anew for every request, and would send what `.netrc` says beside the key.
    """
    proxies = urllib.request.getproxies()
    proxy = proxies.get(place.scheme) or proxies.get("all")
    if not proxy or urllib.request.proxy_bypass(place.netloc.rpartition("@")[2]):
        return None
    proxy = proxy if "://" in proxy else f"http://{proxy}"
    scheme = proxy.partition("://")[0]
    if scheme not in ("http", "https"):
        raise StageError(
            f"the environment names a {scheme} proxy for {place.scheme}:// addresses, which cannot be used: set "
            f"{place.scheme}_proxy to an http or https proxy, or no_proxy={place.hostname}"
        )
    return proxy


def openai_client(endpoint: Endpoint) -> openai.AsyncOpenAI:
    """The `openai` client of an endpoint, without retries: those are ours, so that the pace and the costs see them."""
    given: dict[str, Any] = {"api_key": endpoint.api_key(), "timeout": endpoint.timeout_seconds, "max_retries": 0}
    if endpoint.api == "azure":
        return openai.AsyncAzureOpenAI(azure_endpoint=endpoint.base_url, api_version=endpoint.api_version, **given)
    http = openai.DefaultAsyncHttpxClient(trust_env=not endpoint.loopback)
    return openai.AsyncOpenAI(base_url=endpoint.base_url, http_client=http, **given)


class ByClient:
    """Through the `openai` client: Azure."""

    def __init__(self, client: openai.AsyncOpenAI, endpoint: Endpoint) -> None:
        self._client, self._endpoint = client, endpoint

    async def send(self, request: Request) -> Reply:
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
            cause = error.__cause__ or error
            sent = "Connect" not in type(cause).__name__
            if sent and isinstance(error, openai.APITimeoutError):
                raise NoReplyError(_too_late(self._endpoint.timeout_seconds), lost=True, timed_out=True) from None
            raise NoReplyError(f"no connection: {_said(self._endpoint, cause)}", lost=sent) from None


def _said(endpoint: Endpoint, error: BaseException) -> str:
    """The words of a library, without the key, and without the account of a proxy in its address."""
    return endpoint.redacted(re.sub(r"//[^/@\s]*@", "//***@", str(error)) or type(error).__name__)


def _too_late(seconds: float) -> str:
    return f"no reply within {seconds:g} seconds"
