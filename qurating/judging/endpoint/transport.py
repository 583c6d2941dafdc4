"""How a question travels: through libcurl where the endpoint is plain OpenAI, else by the `openai` client.

Of the ways that were measured libcurl takes the least Python a call that leaves HTTP to others: benchmarks/README.md.
"""

import contextlib
import io
import ssl
import urllib.parse
from collections.abc import AsyncIterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

import certifi
import openai
import pycurl

from qurating import __version__
from qurating.judging.endpoint.libcurl import Transfers
from qurating.judging.endpoint.response_log import Request

if TYPE_CHECKING:
    from qurating.judging.endpoint.client import Endpoint

PATH = "/chat/completions"
CONNECT_SECONDS = 30


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
    headers = ["Content-Type: application/json", "Expect:"]
    if endpoint.api_key_variable is not None:
        headers.append(f"Authorization: Bearer {endpoint.api_key()}")
    direct = Direct(endpoint, headers)
    try:
        yield direct
    finally:
        direct.close()


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
    """Through libcurl, to one address. Redirects are not followed: they would carry the key elsewhere."""

    def __init__(self, endpoint: "Endpoint", headers: list[str]) -> None:
        self._endpoint, self._headers = endpoint, headers
        self._transfers = Transfers(endpoint.max_concurrency)
        self._idle: list[pycurl.Curl] = []

    async def send(self, request: Request) -> Reply:
        """Post one chat completion; raises NoReplyError."""
        curl = self._idle.pop() if self._idle else self._handle()
        lines: list[bytes] = []
        content = io.BytesIO()
        curl.setopt(pycurl.POSTFIELDSIZE, len(request.content))
        # read, not given: libcurl cannot begin anew, and so does not silently send (and pay for) a question twice
        curl.setopt(pycurl.READFUNCTION, io.BytesIO(request.content).read)
        curl.setopt(pycurl.HEADERFUNCTION, lines.append)
        curl.setopt(pycurl.WRITEDATA, content)
        try:
            if (error := await self._transfers.run(curl)) is not None:
                raise self._no_reply(curl, *error)
            status = curl.getinfo(pycurl.RESPONSE_CODE)
        finally:
            self._idle.append(curl)
        named = (line.decode("latin-1").partition(":") for line in lines)
        headers = {name.lower(): value.strip() for name, colon, value in named if colon}
        return Reply(status, headers, content.getvalue())

    def close(self) -> None:
        self._transfers.close()
        for curl in self._idle:
            curl.close()

    def _handle(self) -> pycurl.Curl:
        curl, endpoint = pycurl.Curl(), self._endpoint
        authorities = ssl.get_default_verify_paths()  # as everything else in Python has them: SSL_CERT_FILE counts
        options = {
            pycurl.URL: endpoint.base_url + PATH,
            pycurl.POST: 1,
            pycurl.HTTP_VERSION: pycurl.CURL_HTTP_VERSION_1_1,  # a connection a request: a slow one holds up no other
            pycurl.HTTPHEADER: self._headers,
            pycurl.USERAGENT: f"qurating/{__version__}",
            pycurl.ACCEPT_ENCODING: "",  # whatever libcurl can unpack
            pycurl.TIMEOUT_MS: round(1000 * endpoint.timeout_seconds),
            pycurl.CONNECTTIMEOUT: CONNECT_SECONDS,
            pycurl.CAINFO: authorities.cafile or certifi.where(),
            pycurl.NOSIGNAL: 1,
        }
        if authorities.capath:
            options[pycurl.CAPATH] = authorities.capath
        if endpoint.loopback:
            options[pycurl.PROXY] = ""
        for option, value in options.items():
            curl.setopt(option, value)
        return curl

    def _no_reply(self, curl: pycurl.Curl, code: int, said: str) -> NoReplyError:
        lost = curl.getinfo(pycurl.REQUEST_SIZE) > 0
        if not lost:
            return NoReplyError(f"no connection: {said}", lost=False)
        if code == pycurl.E_OPERATION_TIMEDOUT:
            return NoReplyError(_too_late(self._endpoint.timeout_seconds), lost=True, timed_out=True)
        return NoReplyError(f"no connection: the reply broke off ({said})", lost=True)


def _too_late(seconds: float) -> str:
    return f"no reply within {seconds:g} seconds"
