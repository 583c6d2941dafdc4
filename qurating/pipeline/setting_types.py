"""Types of settings: an override has the type of what it replaces, an argument that of its parameter."""

import ast
import functools
import importlib.util
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qurating.runtime.errors import StageError

_KINDS = {"bool": "true or false", "int": "a whole number", "float": "a number", "str": "text", "None": "null"}
_ANY_TYPE = {"devices"}  # of Lightning's trainer: a number, a list, auto
_MAY_BE_INFINITE = {"temperature", "max_cost_usd", "patience_seconds"}


def problem(key: str, now: Any, given: Any) -> str | None:
    """What is wrong with the type of an override; None if nothing is.

    Args:
        key: of the setting, dotted.
        now: its value before the override, resolved. Null and text can be replaced by anything.
        given: the new value. Null and interpolations fit everywhere.
    """
    last = key.rsplit(".", 1)[-1]
    if given is None or last in _ANY_TYPE or (isinstance(given, str) and "${" in given):
        return None
    if isinstance(now, bool):
        fits, wanted = isinstance(given, bool), "true or false"
    elif isinstance(now, int | float):
        fits, wanted = _is_number(given) and not math.isnan(given), "a number"
        if fits and math.isinf(given) and last not in _MAY_BE_INFINITE:
            fits, wanted = False, "a finite number"
    elif isinstance(now, dict):
        fits, wanted = isinstance(given, dict), f"a mapping: set {key}.<key>=…"
    elif isinstance(now, list):
        fits, wanted = isinstance(given, list | str), "a list: [a,b]"
    else:
        return None
    return None if fits else f"{key} is {wanted}, not {_shown(given)}"


def check_arguments(given: DictConfig, place: str) -> None:
    """Compare the values under a `_target_` of this package, however nested, with the parameters that they are for.

    Parameters of other types than numbers, text, booleans and null are not checked.

    Raises:
        StageError: names the setting, what it is and what is accepted.
    """
    annotations = parameters(*given["_target_"].rsplit(".", 1))
    raw: dict[str, Any] = OmegaConf.to_container(given)  # type: ignore[assignment]
    for name, text in raw.items():
        kinds = set(annotations.get(name, "").split(" | "))
        try:
            value = given[name] if kinds <= _KINDS.keys() or _may_have_target(text) else None
        except OmegaConfBaseException:
            continue  # it refers to something that is missing, which others report
        if isinstance(value, DictConfig):
            if str(value.get("_target_", "")).startswith("qurating."):
                check_arguments(value, _source(given, name, place))
        elif kinds <= _KINDS.keys() and not _accepts(kinds, value):
            wanted = " or ".join(words for kind, words in _KINDS.items() if kind in kinds)
            raise StageError(f"{_source(given, name, place)} is {wanted}, not {_shown(value)}")


def _may_have_target(text: Any) -> bool:
    return isinstance(text, dict) or (isinstance(text, str) and "${" in text)


def _accepts(kinds: set[str], value: Any) -> bool:
    if value is None:
        return "None" in kinds
    if isinstance(value, bool):
        return "bool" in kinds
    if isinstance(value, int):
        return bool(kinds & {"int", "float", "str"})  # a name may be a number
    if isinstance(value, float):
        return bool(kinds & {"float", "str"}) or ("int" in kinds and value.is_integer())  # 1e6
    return isinstance(value, str) and "str" in kinds


def _source(given: DictConfig, name: str, place: str) -> str:
    """The setting that a value comes from: `selection.temperature` of `temperature: ${selection.temperature}`."""
    key, node = f"{place}.{name}", given._get_node(name)
    root: Any = given._get_root()
    while found := re.fullmatch(r"\$\{(?:oc\.select:)?(\w+(?:\.\w+)*)(?:,\w+)?\}", str(node._value())):  # type: ignore[union-attr]
        key = found[1]
        *parents, last = key.split(".")
        parent = OmegaConf.select(root, ".".join(parents)) if parents else root
        if not isinstance(parent, DictConfig) or (node := parent._get_node(last)) is None:
            break
    return key


def _shown(value: Any) -> str:
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else repr(value)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


@functools.cache
def parameters(module: str, name: str) -> dict[str, str]:
    """The parameters of a function, or of a class, and their annotations, read from the source without importing it.

    The parameters of a class are the annotated attributes of it and of its bases in the same module.
    """
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise StageError(f"module {module} does not exist")
    nodes = {
        node.name: node
        for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body
        if isinstance(node, ast.FunctionDef | ast.ClassDef)
    }
    if name not in nodes:
        raise StageError(f"{module} has no function {name}")
    return dict(_parameters(nodes, name))


def _parameters(nodes: dict[str, ast.FunctionDef | ast.ClassDef], name: str) -> Iterator[tuple[str, str]]:
    node = nodes[name]
    if isinstance(node, ast.FunctionDef):
        for argument in [*node.args.args, *node.args.kwonlyargs]:
            yield argument.arg, ast.unparse(argument.annotation) if argument.annotation else ""
        return
    for base in node.bases:
        if isinstance(base, ast.Name) and base.id in nodes:
            yield from _parameters(nodes, base.id)
    for field in node.body:
        if isinstance(field, ast.AnnAssign) and isinstance(field.target, ast.Name):
            yield field.target.id, ast.unparse(field.annotation)
