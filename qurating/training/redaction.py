"""The resolved config without secrets, for what leaves this machine."""

import os
import re
from collections.abc import Iterator, Mapping
from typing import Any

REDACTED = "(redacted)"
_SECRET_SETTING = re.compile(
    r"(^|_)((api|access|private|secret)_?key|secret|password|passwd|credentials?|authorization|cookie"
    r"|(auth|access|api|hf|hub|bearer)_?token)$|^(key|token)$"
)
_SECRET_VARIABLE = re.compile(r"KEY|TOKEN|SECRET|PASSW|CREDENTIAL|AUTH|COOKIE")
_USER_IN_URL = re.compile(r"://[^/@\s]+@")
_GIVEN_IN_URL = re.compile(r"(?<=[?&])([\w-]+)=([^&#\s]+)")
_SIGNATURES = {"sig", "signature", "x-amz-signature", "x-goog-signature"}  # who has the address has the file
_MIN_CHARACTERS = 8  # of a secret; shorter values of variables occur in other words


def redacted(settings: Mapping[str, Any], raw: Mapping[str, Any]) -> dict[str, Any]:
    """Settings with everything replaced that may be a secret.

    That is: the value of a setting whose name says so (`api_key`, `X-Api-Key`, `password`); the value of an environment
    variable if the variable's name says so, or a setting names it (`api_key_variable`), or an interpolation reads it
    (`oc.env`); in a URL the user, and what it gives under such a name (`?api-key=`) or as a signature. Values are
    replaced wherever they occur, such as in the names of artifacts.

    Args:
        settings: resolved; without the key `hydra`, which has the overrides as text.
        raw: the same, not resolved.
    """
    names = {name for name in os.environ if _SECRET_VARIABLE.search(name.upper())}
    for key, value in _texts(raw):
        names |= {value} if key.endswith("_variable") else set(re.findall(r"oc\.env:\s*['\"]?(\w+)", value))
    values = {os.environ.get(name, "") for name in names} | {value for key, value in _texts(settings) if is_secret(key)}
    values |= {found[2] for _, text in _texts(settings) for found in _GIVEN_IN_URL.finditer(text) if _is_given(found)}
    values = {value for value in values if len(value) >= _MIN_CHARACTERS}
    # the longest first: one secret may begin with another
    secrets = re.compile("|".join(map(re.escape, sorted(values, key=len, reverse=True))) or r"(?!)")
    return {str(key): _without(value, str(key), secrets) for key, value in settings.items() if key != "hydra"}


def is_secret(name: str) -> bool:
    """Whether the name of a setting says that its value is a secret."""
    return bool(_SECRET_SETTING.search(name.lower().replace("-", "_")))


def _without(value: Any, key: str, secrets: re.Pattern[str]) -> Any:
    if value and not isinstance(value, bool) and is_secret(key):
        return REDACTED
    if isinstance(value, Mapping):
        return {secrets.sub(REDACTED, str(name)): _without(each, str(name), secrets) for name, each in value.items()}
    if isinstance(value, list | tuple):
        return [_without(each, "", secrets) for each in value]
    if not isinstance(value, str):
        return value
    return _GIVEN_IN_URL.sub(_given, _USER_IN_URL.sub(f"://{REDACTED}@", secrets.sub(REDACTED, value)))


def _given(found: re.Match[str]) -> str:
    return f"{found[1]}={REDACTED}" if _is_given(found) else found[0]


def _is_given(found: re.Match[str]) -> bool:
    """Whether a URL gives a secret here."""
    return is_secret(found[1]) or found[1].lower() in _SIGNATURES


def _texts(value: Any, key: str = "") -> Iterator[tuple[str, str]]:
    """Every text in nested settings, with the name of its setting."""
    if isinstance(value, Mapping):
        for name, each in value.items():
            yield from _texts(each, str(name))
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _texts(each, key)
    elif isinstance(value, str):
        yield key, value
