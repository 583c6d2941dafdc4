"""What identifies an artifact: its stage, its inputs, the settings that can change its content, and its sources.

Sources are the models and data sets that settings name: each counts by what it holds now (`pipeline.sources`).

Not compared are settings that only change how a stage runs (workers, devices, time-outs): `runtime` in the stage's
file in conf/stage/ lists their paths. A function of this package is compared by its own name, without its module.
"""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

COMMIT, UNKNOWN = "commit ", "unknown"  # how sources begin: of a name of the Hub; of what cannot be told
FORMAT = 2  # of a manifest's identity; format 1 has no number, left settings out by their last name, and named modules


def identifying_settings(settings: Mapping[str, Any], runtime: Sequence[str]) -> dict[str, Any]:
    """The settings that are compared, in types that JSON can hold.

    Args:
        settings: nested; `_target_` names what is instantiated.
        runtime: dotted paths of settings that are not compared, such as `trainer.devices`. Unknown paths are ignored:
            not every choice of a group has all of them. `judge.label_pattern?` is compared unless it is null, which
            then has to mean what the stage did before it had the setting.
    """
    found: dict[str, Any] = plain(_without_modules(settings))
    for path in runtime:
        *parents, last = path.removesuffix("?").split(".")
        node: Any = found
        for key in parents:
            node = node.get(key) if isinstance(node, Mapping) else None
        if isinstance(node, dict) and (not path.endswith("?") or node.get(last) is None):
            node.pop(last, None)
    return found


def _without_modules(value: Any, key: str = "") -> Any:
    """Replace targets of this package by their last names, which stay the same when a module moves."""
    if isinstance(value, Mapping):
        return {name: _without_modules(item, str(name)) for name, item in value.items()}
    if isinstance(value, list | tuple):
        return [_without_modules(item) for item in value]
    if key == "_target_" and str(value).startswith("qurating."):
        return str(value).rsplit(".", 1)[-1]
    return value


def recorded_identity(manifest: Mapping[str, Any], runtime: Sequence[str]) -> dict[str, Any]:
    """The identity in a manifest, in the current format.

    The identity of an earlier format left settings out by their last name, and named modules. Its manifest has all
    settings of the stage under `config`, from which the identity is computed again.
    """
    identity: dict[str, Any] = manifest["identity"]
    return (
        identity if is_current(manifest) else {**identity, "config": identifying_settings(manifest["config"], runtime)}
    )


def uncompared(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, str]:
    """The sources of an identity that cannot be compared with the recorded ones, by setting, each with the reason.

    They count as unchanged: a name of the Hub whose commit cannot be told now, or was not recorded (as by earlier
    versions). Files and folders can always be compared.
    """
    before = recorded.get("sources", {})
    found = {}
    for setting, source in now.get("sources", {}).items():
        was_local = not before.get(setting, UNKNOWN).startswith((COMMIT, UNKNOWN))
        if source.startswith(UNKNOWN) and not was_local:
            found[setting] = source.removeprefix(f"{UNKNOWN}: ")
        elif source.startswith(COMMIT) and before.get(setting, UNKNOWN).startswith(UNKNOWN):
            found[setting] = "its commit was not recorded"
    return found


def changes(recorded: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """The `differences` of two identities, without the sources that are `uncompared`.

    An argument of the stage that is null counts as absent: artifacts made before the argument existed stay valid. A new
    argument therefore has to mean, if it is null, what the stage did without it.
    """
    left_out = uncompared(recorded, now)
    after = now.get("sources", {})
    before = dict.fromkeys(after, "not recorded") | recorded.get("sources", {}) | {key: after[key] for key in left_out}
    return differences(
        {**recorded, "config": _given(recorded), "sources": before}, {**now, "config": _given(now), "sources": after}
    )


def _given(identity: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in identity.get("config", {}).items() if value is not None}


def is_current(manifest: Mapping[str, Any]) -> bool:
    return bool(manifest.get("format", 1) == FORMAT)


def plain(value: Any) -> Any:
    """Settings in types that JSON can hold: paths and infinities become strings."""
    if isinstance(value, Mapping):
        return {str(key): plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    if isinstance(value, Path) or (isinstance(value, float) and not math.isfinite(value)):
        return str(value)
    return value


def leaves(value: Any, prefix: str = "") -> dict[str, Any]:
    """A nested mapping, flattened to dotted keys."""
    if isinstance(value, Mapping) and value:
        return {k: v for key, item in value.items() for k, v in leaves(item, f"{prefix}{key}.").items()}
    return {prefix[:-1]: value}


def differences(old: Any, new: Any) -> list[str]:
    """The settings in which two identities differ, one line each.

    Null and absent differ: among the options of a judge's requests, for example, null removes one.
    """
    a, b = leaves(old), leaves(new)
    absent = "(absent)"
    found: dict[str, list[str]] = {}
    for key in sorted(a.keys() | b.keys()):
        if a.get(key, absent) != b.get(key, absent):
            found.setdefault(_list_of_inputs(key), []).append(key)
    lines = []
    for name, keys in found.items():
        before, now = ([each[key] for key in sorted(each) if _list_of_inputs(key) == name] for each in (a, b))
        moved = set(before) ^ set(now) if keys != [name] else set()  # one that is new moves those that follow it
        lines += [f"{name}: {each!r} is {'new' if each in now else 'no longer there'}" for each in sorted(moved)]
        if not moved:
            lines += [f"{key}: {a.get(key, absent)!r} before, {b.get(key, absent)!r} now" for key in keys]
    return lines


def _list_of_inputs(key: str) -> str:
    """The list that a flattened key is a place of, `inputs.subsets` of `inputs.subsets.3`; any other key as it is."""
    name, _, place = key.rpartition(".")
    return name if key.startswith("inputs.") and place.isdigit() else key
