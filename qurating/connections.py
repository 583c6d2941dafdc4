"""How a question travels: by the `openai` client, or by kept-alive connections of our own where that is all it takes.

A call through the client costs more than a millisecond of Python, through `Direct` a tenth of it, see
benchmarks/judging.py. `Direct` is HTTP/1.1 without redirects, proxies or compression; what needs more goes through the
client.
"""

import asyncio
import collections
import contextlib
import ssl
import urllib.parse
import urllib.request
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

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
    """The quickest way there that serves."""
    place = urllib.parse.urlsplit(endpoint.base_url)
    proxies = (
        {} if endpoint.loopback or urllib.request.proxy_bypass(place.hostname or "") else urllib.request.getproxies()
    )
    if endpoint.api != "openai" or place.scheme in proxies or "all" in proxies:
        yield ByClient(by_client, endpoint.timeout_seconds)
        return
    headers = {"Content-Type": "application/json"}
    if endpoint.api_key_variable is not None:
        headers["Authorization"] = f"Bearer {endpoint.api_key()}"
    direct = Direct(endpoint.base_url + PATH, headers, endpoint.timeout_seconds)
    try:
        yield direct
    finally:
        direct.close()


class ByClient:
    """Through the `openai` client: Azure, proxies."""

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
    """A pool of connections to one address, each with one request at a time.

    Raises ValueError for an address that is no http:// or https:// one.
    """

    def __init__(self, url: str, headers: Mapping[str, str], timeout_seconds: float) -> None:
        place = urllib.parse.urlsplit(url)
        if place.scheme not in ("http", "https") or not place.hostname:
            raise ValueError(f"{url} is no http:// or https:// address")
        self._host, self._port = place.hostname, place.port or (443 if place.scheme == "https" else 80)
        self._ssl = ssl.create_default_context() if place.scheme == "https" else None
        target = place.path + (f"?{place.query}" if place.query else "")
        lines = {"Host": place.netloc, "User-Agent": f"qurating/{__version__}", "Accept": "application/json"}
        lines |= {"Accept-Encoding": "identity", **headers}
        if any(c in value for value in lines.values() for c in "\r\n"):
            raise ValueError("a header holds the end of a line")
        head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
        self._head = f"POST {target} HTTP/1.1\r\n{head}Content-Length: ".encode("latin-1")
        self._timeout_seconds = timeout_seconds
        self._idle: collections.deque[_Connection] = collections.deque()
        self._open: set[_Connection] = set()

    async def send(self, request: Request) -> Reply:
        """Post one chat completion; raises NoReplyError."""
        content = request.content
        message = self._head + f"{len(content)}\r\n\r\n".encode() + content
        while True:
            connection = self._take()
            reused = connection is not None
            if connection is None:
                connection = await self._connect()
            try:
                reply = await connection.ask(message, self._timeout_seconds)
            except _ClosedError as error:
                if reused and not error.begun:
                    continue  # closed for being idle, as it was taken up again
                raise NoReplyError("no connection: it was closed before the reply was complete", lost=True) from None
            except TimeoutError:
                raise NoReplyError(_too_late(self._timeout_seconds), lost=True, timed_out=True) from None
            except ValueError:
                raise NoReplyError("no connection: what came back is not HTTP", lost=True) from None
            finally:
                if connection.reusable:
                    self._idle.append(connection)
                else:
                    self._open.discard(connection)
                    connection.close()
            return reply

    def _take(self) -> "_Connection | None":
        while self._idle:
            connection = self._idle.pop()
            if connection.reusable:
                return connection
            self._open.discard(connection)
        return None

    async def _connect(self) -> "_Connection":
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_seconds):
                _, connection = await loop.create_connection(_Connection, self._host, self._port, ssl=self._ssl)
        except OSError as error:  # TimeoutError is one
            raise NoReplyError(f"no connection: {error or 'timed out'}", lost=False) from None
        self._open.add(connection)
        return connection

    def close(self) -> None:
        for connection in self._open:
            connection.close()


def _too_late(seconds: float) -> str:
    return f"no reply within {seconds:g} seconds"


class _ClosedError(Exception):
    """The other side has closed the connection; `begun` if a part of the reply had come."""

    def __init__(self, begun: bool) -> None:
        super().__init__()
        self.begun = begun


class _Connection(asyncio.Protocol):
    """One HTTP/1.1 connection: a request, its reply, the next request."""

    def __init__(self) -> None:
        self._transport: Any = None
        self._waiting: asyncio.Future[Reply] | None = None
        self._received = bytearray()
        self._status, self._headers, self._body_at = 0, dict[str, str](), 0
        self.reusable = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    async def ask(self, message: bytes, timeout_seconds: float) -> Reply:
        """Send a request and wait for its reply; raises _ClosedError, TimeoutError, ValueError if it is not HTTP."""
        loop = asyncio.get_running_loop()
        self.reusable = False
        self._received, self._body_at = bytearray(), 0
        self._waiting = waiting = loop.create_future()
        if self._transport.is_closing():
            raise _ClosedError(begun=False)
        self._transport.write(message)
        timer = loop.call_later(timeout_seconds, self._fail, TimeoutError())
        try:
            return await waiting
        finally:
            timer.cancel()
            self._waiting = None

    def data_received(self, data: bytes) -> None:
        self._received += data
        try:
            if not self._body_at and not self._read_head():
                return
            content = self._body()
        except (ValueError, IndexError) as error:
            return self._fail(ValueError(str(error)))
        if content is not None:
            self._finish(content, keep=self._headers.get("connection", "").lower() != "close")

    def connection_lost(self, error: Exception | None) -> None:
        self.reusable = False
        if self._body_at and error is None and not {"content-length", "transfer-encoding"} & self._headers.keys():
            self._finish(bytes(self._received[self._body_at :]), keep=False)  # a body that ends with the connection
        self._fail(_ClosedError(begun=bool(self._received)))

    def close(self) -> None:
        self.reusable = False
        self._transport.close()

    def _read_head(self) -> bool:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return False
        first, *lines = self._received[:end].decode("latin-1").split("\r\n")
        version, status, *_ = first.split(" ", 2)
        if not version.startswith("HTTP/1."):
            raise ValueError(first)
        self._status, self._body_at = int(status), end + 4
        self._headers = {
            name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)
        }
        if 100 <= self._status < 200:  # "continue": the reply is yet to come
            del self._received[: self._body_at]
            self._body_at = 0
            return self._read_head()
        return True

    def _body(self) -> bytes | None:
        """The body, once it is complete."""
        if "chunked" in self._headers.get("transfer-encoding", "").lower():
            return self._chunks()
        if self._status in (204, 304):
            return b""
        if "content-length" not in self._headers:
            return None
        end = self._body_at + int(self._headers["content-length"])
        return bytes(self._received[self._body_at : end]) if len(self._received) >= end else None

    def _chunks(self) -> bytes | None:
        content, place = bytearray(), self._body_at
        while (line_end := self._received.find(b"\r\n", place)) >= 0:
            size = int(self._received[place:line_end].split(b";")[0], 16)
            place = line_end + 2 + size + 2
            if size == 0:  # trailers may follow, up to an empty line
                return bytes(content) if self._received.find(b"\r\n\r\n", line_end) >= 0 else None
            if len(self._received) < place:
                return None
            content += self._received[line_end + 2 : place - 2]
        return None

    def _finish(self, content: bytes, keep: bool) -> None:
        if self._waiting is not None and not self._waiting.done():
            self.reusable = keep
            self._waiting.set_result(Reply(self._status, self._headers, content))

    def _fail(self, error: Exception) -> None:
        if self._waiting is not None and not self._waiting.done():
            self._waiting.set_exception(error)
