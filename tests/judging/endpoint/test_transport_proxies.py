"""Proxies from the environment: when they are used, and that no secret reaches them or a message."""

import asyncio
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


@pytest.fixture(autouse=True)
def _no_proxies(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy", "no_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


def test_a_proxy_is_used_where_one_is_set_and_never_on_loopback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def answer(call: dict[str, Any]) -> web.Response:
        asked.append(str(call["request"].headers["Host"]))
        return respond({"value": number_of(call)})

    with endpoint(answer) as url:
        monkeypatch.setenv("http_proxy", url.removesuffix("/v1"))
        monkeypatch.setenv("no_proxy", "")
        ask(endpoint_at("http://judge.example/v1", loopback=False), tmp_path / "j")
        assert set(asked) == {"judge.example"}
        monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
        assert ask(endpoint_at(url), tmp_path / "k") == ALL


def test_a_proxy_gets_its_own_password_and_the_endpoint_its_key(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The key is sent, even if `.netrc` has a password for the host of the endpoint."""
    (tmp_path / "netrc").write_text("machine judge.example login somebody password else\n")
    monkeypatch.setenv("NETRC", str(tmp_path / "netrc"))
    monkeypatch.setenv("MY_KEY", "sk-very-secret")
    seen: list[dict[str, str]] = []

    def answer(call: dict[str, Any]) -> web.Response:
        seen.append(call["headers"])
        return respond({"value": number_of(call)})

    with endpoint(answer) as url:
        monkeypatch.setenv("all_proxy", url.removeprefix("http://").removesuffix("/v1").join(["user:pass@", ""]))
        where = endpoint_at("http://judge.example/v1", loopback=False, api_key_variable="MY_KEY")
        assert ask(where, tmp_path / "j") == ALL
    assert {head["Host"] for head in seen} == {"judge.example"}
    assert {head["Proxy-Authorization"] for head in seen} == {"Basic dXNlcjpwYXNz"}
    assert {head["Authorization"] for head in seen} == {"Bearer sk-very-secret"}


def test_a_proxy_that_cannot_be_used_is_refused_without_its_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "socks5://user:hidden@127.0.0.1:9")
    with pytest.raises(StageError, match=r"socks5 proxy.*no_proxy=judge\.example") as refused:
        send_once(endpoint_at("https://judge.example/v1", loopback=False))
    assert "hidden" not in str(refused.value)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    assert send_once(endpoint_at(f"{NOBODY_LISTENS}/v1".replace("http:", "https:"), loopback=False))[1] is False


def test_a_proxy_that_refuses_a_tunnel_has_seen_no_question(monkeypatch: pytest.MonkeyPatch) -> None:
    async def asked() -> Found:
        async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 407 Who are you\r\nContent-Length: 0\r\n\r\n")
            writer.close()

        server = await asyncio.start_server(refuse, "127.0.0.1", 0)
        monkeypatch.setenv("https_proxy", f"http://user:hidden@127.0.0.1:{server.sockets[0].getsockname()[1]}")
        async with transport.opened(endpoint_at("https://judge.example/v1", loopback=False)) as sender:
            found = await send(sender)
        server.close()
        return found

    said, lost = asyncio.run(asked())
    assert "407" in str(said)
    assert "hidden" not in str(said)
    assert lost is False
