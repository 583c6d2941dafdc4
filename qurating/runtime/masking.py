"""Masks the key, and any other secret that is sent, in what an endpoint says: nothing of it may reach a file."""

import base64
import contextlib
import json
import urllib.parse
import urllib.request
from collections.abc import Iterable

MASK = "***"
MIN_PART = 12  # characters of a secret that are masked where an endpoint quotes only a part of it


class Redaction:
    """Masks `secrets` in texts and in the content of replies, also in the encodings in which they are quoted."""

    def __init__(self, secrets: Iterable[str]) -> None:
        whole = {secret for secret in secrets if secret}
        quoted = {urllib.parse.quote(secret, safe="") for secret in whole}
        encoded = {base64.b64encode(secret.encode()).decode() for secret in whole}
        self._whole = sorted(whole | quoted | encoded, key=len, reverse=True)
        self._parts = {s[i : i + MIN_PART] for s in whole for i in range(len(s) - MIN_PART + 1)}
        blocks = [s[i : i + MIN_PART] for s in whole for i in range(0, len(s) - MIN_PART + 1, MIN_PART)]
        self._sought = [secret.encode() for secret in (*self._whole, *blocks)]  # few: each reply is searched for them

    def text(self, text: str) -> str:
        """The text without secrets, and without long parts of them."""
        for secret in self._whole:
            text = text.replace(secret, MASK)
        if any(part in text for part in self._parts):
            hidden = [False] * len(text)
            for part in self._parts:
                start = text.find(part)
                while start >= 0:
                    hidden[start : start + MIN_PART] = [True] * MIN_PART
                    start = text.find(part, start + 1)
            shown = [MASK if h and not before else "" if h else c for c, h, before in _with_previous(text, hidden)]
            text = "".join(shown)
        return text

    def content(self, content: bytes) -> bytes:
        """The body of a reply without secrets; the very same object if it holds none, as nearly every reply does."""
        if not self._whole:
            return content
        if b"\\/" in content or b"\\u00" in content:  # some servers escape characters that a key may have
            with contextlib.suppress(ValueError):
                content = json.dumps(json.loads(content)).encode()
        if any(part in content for part in self._sought):
            return self.text(content.decode("utf-8", "surrogateescape")).encode("utf-8", "surrogateescape")
        return content


def _with_previous(text: str, hidden: list[bool]) -> Iterable[tuple[str, bool, bool]]:
    return zip(text, hidden, [False, *hidden], strict=False)


def secrets_of(address: str, key: str | None) -> list[str]:
    """The secrets that requests to an address carry: the key, and passwords in the address or in those of proxies."""
    found = [key] if key else []
    for url in (address, *urllib.request.getproxies().values()):
        try:
            parts = urllib.parse.urlsplit(url)
            if parts.password:
                user, password = (urllib.parse.unquote(part or "") for part in (parts.username, parts.password))
                found += [password, f"{user}:{password}"]
        except ValueError:  # the sender refuses it
            continue
    return found


def without_password(address: str) -> str:
    """An address without the account in it."""
    scheme, mark, rest = address.partition("://")
    place, slash, path = rest.partition("/")
    return f"{scheme}{mark}{place.rpartition('@')[2]}{slash}{path}" if mark else address
