"""The resolvers in the YAML files of this framework: `${base:…}`, `${count:…}` and so on."""

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from hydra.core.hydra_config import HydraConfig
from omegaconf import DictConfig, OmegaConf

from qurating.artifacts.seeds import replicated
from qurating.corpus.files import in_repository
from qurating.pipeline import safe_names, sources
from qurating.runtime.processes import usable_cores

IF_COMPLETE = "?"  # ends the name of an input that a stage reads only if it is complete when the stage begins
EVERY = "every "  # "every STAGE of NAME": all complete artifacts of the stage that are made of the artifact NAME


def register_resolvers() -> None:
    """Register the resolvers with OmegaConf."""
    resolvers: dict[str, Any] = {
        "among": lambda value, *others: value in others,
        "any": lambda *conditions: any(conditions),
        "base": _base,
        "count": _count,
        "cpus": usable_cores,
        "distinct": _distinct,
        "every": lambda stage, of: [f"{EVERY}{stage} of {of}"],
        "files_of": _files_of,
        "given": _given,
        "if_complete": lambda *names: [f"{name}{IF_COMPLETE}" for name in dict.fromkeys(names) if name],
        "listing": sources.listing,
        "listings": _listings,
        "named": lambda path: safe_names.of_path(str(path)),
        "not": lambda condition: not condition,
        "replicated": replicated,
        "sha256": _sha256,
        "stem": safe_names.of_files,
        "sweep_name": _sweep_name,
        "times": lambda factor, number: round(factor * number),
        "unless": lambda *given: None if any(given[:-1]) else given[-1],
        "when": lambda condition, yes, no: yes if condition else no,
    }
    for name, function in resolvers.items():
        OmegaConf.register_new_resolver(name, function, replace=True)


def _base(paths: Any) -> str:
    """The last part of an artifact's name; of several, joined by +."""
    parts = [str(path).rstrip("/").rsplit("/", 1)[-1] for path in _each(paths)]
    return "+".join(sorted(set(parts)))


def _distinct(*given: Any) -> Any:
    """The arguments, and members of lists among them, that are not null: each once, sorted; one alone, or null."""
    found = sorted({item for value in given for item in _each(value) if item is not None})
    return found if len(found) > 1 else found[0] if found else None


def _each(value: Any) -> list[Any]:
    return list(value) if OmegaConf.is_list(value) or isinstance(value, list) else [value]


def _given(setting: str, *, _root_: DictConfig) -> Any:
    """The value of a setting, unless it is made of names of artifacts, which may depend on it; else null."""
    raw = _root_._get_node(setting)
    text = "artifacts." if raw is None else str(raw._value())
    return None if "artifacts." in text else _root_[setting]


def _files_of(setting: str, *, _root_: DictConfig) -> Any:
    """The paths and patterns of files that a setting is set to; null if it names an artifact, or is made of names."""
    return sources.given_files(_given(setting, _root_=_root_))


def _count(number: float | str) -> str:
    """A number of tokens as people write it: 30000000000 -> 30B, 400000 -> 400K, 123456 -> 123456."""
    if isinstance(number, str) or number != int(number):
        return str(number)
    number = int(number)
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        times_ten, rest = divmod(number * 10, size)
        if number >= size and not rest:
            return f"{times_ten // 10}{letter}" if times_ten % 10 == 0 else f"{times_ten / 10}{letter}"
    return str(number)


def _listings(evaluation: Mapping[str, Any]) -> dict[str, str | None] | None:
    """The fingerprints of the files that an evaluation's `documents` and those of its sets name; null without any."""
    paths = {"documents": evaluation["documents"]}
    paths |= {f"sets.{name}": each.get("documents") for name, each in evaluation["sets"].items()}
    found = {name: sources.listing(path) for name, path in paths.items() if path is not None}
    return found or None


def _sha256(path: str | None) -> str | None:
    """The start of a file's SHA-256, null for null; `absent` if it is missing: `preflight.check_files` reports that."""
    if path is None:
        return None
    file = in_repository(path)
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else "absent"


def _sweep_name() -> str:
    if not HydraConfig.initialized():
        return "none"
    hydra = HydraConfig.get()
    return str(Path(hydra.sweep.dir if str(hydra.mode).endswith("MULTIRUN") else hydra.run.dir))
