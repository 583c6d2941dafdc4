"""What identifies an artifact: its stage, its inputs, and the settings that can change its content.

Settings count by what they mean. A setting that says how a stage runs, and never what it makes (workers, devices,
time-outs), is named by its path in `runtime` of the stage's file in conf/stage/, and does not count. A function of
this package counts by its own name, wherever its module lies.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

FORMAT = 2  # of a manifest's identity; 1, without a number, left settings out by their last name and had whole targets


def meaning(settings: Mapping[str, Any], runtime: Sequence[str]) -> dict[str, Any]:
    """Settings as they are compared, in JSON's types.

    Args:
        settings: nested; `_target_` names what is instantiated.
        runtime: dotted paths of settings that do not count, such as `trainer.devices`. A path that is not among the
            settings is passed over: not every choice of a group has all of them.
    """
    found: dict[str, Any] = plain(_named(settings))
    for path in runtime:
        *parents, last = path.split(".")
        node: Any = found
        for key in parents:
            node = node.get(key) if isinstance(node, Mapping) else None
        if isinstance(node, dict):
            node.pop(last, None)
    return found


def _named(value: Any, key: str = "") -> Any:
    """Targets of this package by their own names: they survive a move to another module."""
    if isinstance(value, Mapping):
        return {name: _named(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_named(item) for item in value]
    if key == "_target_" and str(value).startswith("qurating."):
        return str(value).rsplit(".", 1)[-1]
    return value


def recorded(manifest: Mapping[str, Any], runtime: Sequence[str]) -> dict[str, Any]:
    """The identity in a manifest, as it would be written today.

    A manifest of an earlier format left settings out of its identity by their last name, and named modules. But it
    holds everything that the stage was given: its identity is made anew from that.
    """
    identity: dict[str, Any] = manifest["identity"]
    return identity if is_current(manifest) else {**identity, "config": meaning(manifest["config"], runtime)}


def is_current(manifest: Mapping[str, Any]) -> bool:
    return bool(manifest.get("format", 1) == FORMAT)


def plain(value: Any) -> Any:
    """Settings as JSON can hold them: paths and infinities become strings."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path) or (isinstance(value, float) and not math.isfinite(value)):
        return str(value)
    return value


def leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """A nested mapping as one level of dotted keys."""
    if isinstance(value, Mapping) and value:
        return {k: v for key, item in value.items() for k, v in leaves(item, f"{prefix}{key}.").items()}
    return {prefix[:-1]: value}


def differences(old: Any, new: Any) -> list[str]:
    """The settings in which two identities differ, one readable line each."""
    a, b = leaves(old), leaves(new)
    absent = "(absent)"
    return [
        f"{key}: {a.get(key, absent)!r} there, {b.get(key, absent)!r} now"
        for key in sorted(a.keys() | b.keys())
        if a.get(key, absent) != b.get(key, absent)
    ]
