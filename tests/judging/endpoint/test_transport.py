"""One request over a real socket: what servers reply, invalid addresses, and whether the request may be billed."""

import asyncio
import contextlib
import dataclasses
import gzip
import resource
import shutil
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from endpoint_client import ALL, ask, endpoint_at, number_of
from judge_fixtures import endpoint, respond
from ports import NOBODY_LISTENS
from single_requests import Found, send, send_once

from qurating.judging.endpoint import transport
from qurating.runtime.errors import StageError

OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n"
BROKEN = "no connection: the reply broke off"
ZIPPED = gzip.compress(b'{"value": 1}')


class Server:
    """Writes `pieces(n)` in answer to the n-th request; then closes the connection if the last of them is empty."""

    def __init__(self, pieces: Callable[[int], list[bytes]]) -> None:
        self._pieces = pieces
        self.heads: list[bytes] = []  # of the requests
        self.num_connections = self.num_open = 0

    async def talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.num_connections += 1
        self.num_open += 1
        try:
            while True:
                head = await reader.readuntil(b"\r\n\r\n")
                await reader.readexactly(int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0]))
                self.heads.append(head)
                for piece in self._pieces(len(self.heads)):
                    if not piece:
                        return
                    writer.write(piece)
                    await writer.drain()
                    await asyncio.sleep(0.01)
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()
            self.num_open -= 1

    @contextlib.asynccontextmanager
    async def serving(self, tls: ssl.SSLContext | None = None) -> AsyncIterator[str]:
        """Gives its address, without the scheme."""
        server = await asyncio.start_server(self.talk, "127.0.0.1", 0, ssl=tls)
        try:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        finally:
            server.close()
            while self.num_open:
                await asyncio.sleep(0.001)


async def what_is_under_way_arrives() -> None:
    """Give the event loop the few turns that it needs to read its sockets and to act on the data."""
    for _ in range(10):
        await asyncio.sleep(0)


def ask_server(server: Server, num_requests: int = 1, **changes: Any) -> list[Found]:
    """Send one after another, each when the server is done with the one before."""

    async def asked() -> list[Found]:
        found: list[Found] = []
        async with server.serving() as place, transport.opened(endpoint_at(f"http://{place}", **changes)) as sender:
            for _ in range(num_requests):
                found.append(await send(sender))
                await what_is_under_way_arrives()
        return found

    return asyncio.run(asked())


CASES: list[tuple[list[bytes], Any]] = [
    ([OK + b"{}"], (200, b"{}")),
    ([OK[:20], OK[20:], b"{", b"}"], (200, b"{}")),
    ([b"HTTP/1.1 100 Continue\r\n\r\n", OK, b"{}"], (200, b"{}")),
    (
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n{\r\n", b"1;x=y\r\n}\r", b"\n0\r\n\r\n"],
        (200, b"{}"),
    ),
    ([b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n{", b"}", b""], (200, b"{}")),
    ([b"HTTP/1.1 204 No Content\r\n\r\n"], (204, b"")),
    (
        [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n" % len(ZIPPED) + ZIPPED],
        (200, b'{"value": 1}'),
    ),
    ([OK + b"{", b""], (BROKEN, True)),
    ([b""], (BROKEN, True)),
    ([b"SSH-2.0-server\r\n\r\n"], (BROKEN, True)),
    (
        [b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nxyz\r\n"],
        (BROKEN, True),
    ),
    (
        [b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 5\r\n\r\nplain"],
        (BROKEN, True),
    ),
]


@pytest.mark.parametrize(("pieces", "expected"), CASES)
def test_http_as_servers_speak_it(pieces: list[bytes], expected: Any) -> None:
    found = ask_server(Server(lambda n: pieces), 2)
    # the library's own words for what is wrong follow
    assert [(BROKEN, lost) if str(said).startswith(BROKEN) else (said, lost) for said, lost in found] == [expected] * 2


def test_compressed_replies_are_asked_for_and_the_sender_says_who_it_is() -> None:
    server = Server(lambda n: [OK + b"{}"])
    ask_server(server)
    head = server.heads[0].lower()
    assert b"gzip" in head.split(b"accept-encoding:")[1].split(b"\r\n")[0]
    assert b"user-agent: qurating/" in head
    assert b"content-type: application/json" in head


def test_a_request_is_not_silently_sent_twice_when_a_used_connection_dies() -> None:
    server = Server(lambda n: [OK + b"{}"] if n == 1 else [b""])
    found = ask_server(server, 2)
    assert found[0] == (200, b"{}")
    assert found[1][1]  # lost: it may have been paid for
    assert (len(server.heads), server.num_connections) == (2, 1)


def test_a_connection_closed_while_idle_is_opened_again() -> None:
    server = Server(lambda n: [OK + b"{}", b""] if n == 1 else [OK + b"[]"])

    async def asked() -> list[Found]:
        async with server.serving() as place, transport.opened(endpoint_at(f"http://{place}")) as sender:
            first = await send(sender)
            while server.num_open:
                await asyncio.sleep(0.001)
            await what_is_under_way_arrives()
            return [first, await send(sender)]

    assert asyncio.run(asked()) == [(200, b"{}"), (200, b"[]")]
    assert (len(server.heads), server.num_connections) == (2, 2)


def test_a_reply_that_nobody_asked_for_is_taken_for_no_answer() -> None:
    """Two replies to the first request. The second is not the answer to the next, nor is that one's for the third."""
    server = Server(lambda n: [OK + b"%02d" % n, OK + b"XX"] if n == 1 else [OK + b"%02d" % n])

    async def asked() -> list[Found]:
        found: list[Found] = []
        async with server.serving() as place, transport.opened(endpoint_at(f"http://{place}")) as sender:
            found.append(await send(sender))
            await asyncio.sleep(0.05)  # the server pauses between pieces, for less
            await what_is_under_way_arrives()
            found += [await send(sender) for _ in range(3)]
        return found

    found = asyncio.run(asked())
    assert found[0] == (200, b"01")
    assert found[1][1] is False  # not sent: not paid for
    assert "unasked" in str(found[1][0])
    assert found[2:] == [(200, b"02"), (200, b"03")]
    assert len(server.heads) == 3


def test_a_server_that_accepts_and_never_answers_is_a_time_out() -> None:
    assert ask_server(Server(lambda n: []), timeout_seconds=1.0) == [("no reply within 1 seconds", True)]


def test_a_request_that_was_never_sent_is_not_lost() -> None:
    assert send_once(endpoint_at(f"{NOBODY_LISTENS}/v1"))[1] is False
    with socket.create_server(("127.0.0.1", 0)) as deaf:  # accepts, and says nothing of the TLS that is asked for
        said, lost = send_once(endpoint_at(f"https://127.0.0.1:{deaf.getsockname()[1]}/v1", timeout_seconds=1.0))
    assert str(said).startswith("no connection")
    assert lost is False


def test_redirects_are_not_followed() -> None:
    with endpoint(lambda call: respond({"value": 1})) as other:
        moved = b"HTTP/1.1 307 T\r\nLocation: %s/chat/completions\r\nContent-Length: 0\r\n\r\n" % other.encode()
        assert ask_server(Server(lambda n: [moved])) == [(307, b"")]


def test_a_key_that_comes_back_where_no_error_text_should_be_is_not_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    server = Server(lambda n: [b"HTTP/1.1 sk-very-secret\r\n\r\n", b""])
    found = ask_server(server, api_key_variable="MY_KEY")
    assert b"sk-very-secret" in server.heads[0]
    assert str(found[0][0]).startswith(BROKEN)
    assert "sk-very-secret" not in str(found)


def test_certificate_authorities_are_those_of_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not (openssl := shutil.which("openssl")):
        pytest.skip("no openssl to make a certificate with")
    options = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    files = ["-keyout", str(tmp_path / "key.pem"), "-out", str(tmp_path / "cert.pem")]
    subprocess.run([openssl, *options.split(), *files], check=True, capture_output=True)
    tls = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    tls.load_cert_chain(tmp_path / "cert.pem", tmp_path / "key.pem")

    def asked() -> Found:
        async def over_tls() -> Found:
            server = Server(lambda n: [OK + b"{}"])
            async with server.serving(tls) as place, transport.opened(endpoint_at(f"https://{place}")) as sender:
                return await send(sender)

        return asyncio.run(over_tls())

    said, lost = asked()
    assert "certificate" in str(said).lower()
    assert lost is False
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "cert.pem"))
    assert asked() == (200, b"{}")


def test_a_low_limit_on_open_files_is_raised_or_said_before_connections_fail() -> None:
    allowed, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    where = endpoint_at(f"{NOBODY_LISTENS}/v1", max_concurrency=500)
    resource.setrlimit(resource.RLIMIT_NOFILE, (400, most))
    try:
        send_once(where)
        assert resource.getrlimit(resource.RLIMIT_NOFILE)[0] >= 500
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, most))
    if most != resource.RLIM_INFINITY:
        with pytest.raises(StageError, match=rf"judge\.max_concurrency={most} .*allows this process {most}"):
            send_once(dataclasses.replace(where, max_concurrency=most))


@pytest.mark.parametrize(
    "base_url", ["ftp://x/v1", "api.example.com/v1", "http:///v1", "http://[::1/v1", "http://x:99999/v1"]
)
def test_an_address_that_is_none(base_url: str) -> None:
    with pytest.raises(StageError, match=r"judge\.base_url"):
        send_once(endpoint_at(base_url))


def test_an_account_in_the_address_is_sent_and_does_not_go_with_a_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    with pytest.raises(StageError, match="MY_KEY") as refused:
        send_once(endpoint_at("http://user:hidden@127.0.0.1:9/v1", api_key_variable="MY_KEY"))
    assert "hidden" not in str(refused.value)

    async def asked() -> list[bytes]:
        server = Server(lambda n: [OK + b"{}"])
        async with server.serving() as place, transport.opened(endpoint_at(f"http://user:pass@{place}")) as sender:
            await send(sender)
        return server.heads

    assert b"Authorization: Basic dXNlcjpwYXNz" in asyncio.run(asked())[0]


def test_azure_by_its_own_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MY_KEY", "azure-secret")
    seen: list[dict[str, Any]] = []

    def answer(call: dict[str, Any]) -> web.Response:
        seen.append({"path": call["request"].path_qs, "key": call["headers"].get("api-key")})
        return respond({"value": number_of(call)}) if len(seen) > 1 else respond({}, 503, {"retry-after": "0"})

    with endpoint(answer) as url:
        where = endpoint_at(
            url.removesuffix("/v1"), api_key_variable="MY_KEY", api="azure", api_version="2024-10-21", max_retries=2
        )
        assert ask(where, tmp_path / "j") == ALL
        with pytest.raises(StageError, match="does not know this path or model"):
            ask(dataclasses.replace(where, base_url=url + "/other"), tmp_path / "k")
    assert {s["path"] for s in seen} == {"/openai/deployments/m/chat/completions?api-version=2024-10-21"}
    assert {s["key"] for s in seen} == {"azure-secret"}
