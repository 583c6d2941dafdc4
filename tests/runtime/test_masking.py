"""Secrets in what an endpoint says."""

import base64
import json
import urllib.parse

import pytest

from qurating.runtime.masking import Redaction, secrets_of, without_password

KEY = "sk-very/secret+0123456789"


@pytest.mark.parametrize(
    "quoted",
    [
        KEY,
        f"Bearer {KEY}",
        urllib.parse.quote(KEY, safe=""),
        base64.b64encode(KEY.encode()).decode(),
        KEY[:-4] + "…",
        "…" + KEY[5:],
    ],
)
def test_a_key_is_masked_however_it_is_quoted(quoted: str) -> None:
    shown = Redaction([KEY]).text(f"no access with {quoted}, sorry")
    assert shown.startswith("no access with ")
    assert shown.endswith(", sorry")
    assert "***" in shown
    assert not any(KEY[i : i + 12] in shown for i in range(len(KEY) - 11))
    assert quoted not in shown


def test_the_content_of_a_reply_has_no_key_also_where_it_is_escaped() -> None:
    redaction = Redaction([KEY])
    for text in (KEY, KEY.replace("/", "\\/"), KEY.replace("+", "\\u002b")):
        content = b'{"error": {"message": "key ' + text.encode() + b'"}}'
        assert json.loads(redaction.content(content)) == {"error": {"message": "key ***"}}
    assert redaction.content(b"\xff " + KEY.encode()) == b"\xff ***"
    clean = b'{"value": 1}'
    assert redaction.content(clean) is clean


def test_passwords_of_addresses_are_secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("https_proxy", "http://me:hidden-too@proxy:8080")
    redaction = Redaction(secrets_of("https://user:hid%20den@judge.example/v1", KEY))
    basic = base64.b64encode(b"user:hid den").decode()
    shown = redaction.text(f"{basic} {KEY} hid den hidden-too")
    assert shown == "*** *** *** ***"
    assert without_password("https://user:hidden@judge.example/v1") == "https://judge.example/v1"
    assert without_password("https://judge.example/v1/a@b") == "https://judge.example/v1/a@b"
