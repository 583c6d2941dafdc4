"""The config's resolvers, and the checks that refuse a bad one before anything is loaded."""

import ast
import contextlib
import difflib
import functools
import glob
import hashlib
import importlib.util
import os
import re
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from hydra import compose
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qurating.artifacts.identity import leaves
from qurating.runtime.errors import StageError

ROOT = Path(__file__).parents[2]  # of the repository; relative paths to files of conf/ start here
_NO_ARGUMENTS = {"_target_", "inputs", "fetches", "runtime"}  # of a stage; inputs become arguments one by one
_MAX_READ_BYTES = 64 * 2**20  # of files that a configuration names, to tell others from them


def register_resolvers() -> None:
    """Make the functions of this framework's YAML files known: `${base:…}`, `${count:…}` and so on."""
    resolvers: dict[str, Any] = {
        "any": lambda *conditions: any(conditions),
        "base": lambda path: str(path).rstrip("/").rsplit("/", 1)[-1],
        "count": _count,
        "cpus": lambda: len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1,
        "listing": _listing,
        "not": lambda condition: not condition,
        "sha256": _sha256,
        "stem": _stem,
        "sweep_name": _sweep_name,
        "unless": lambda *given: None if any(given[:-1]) else given[-1],
        "when": lambda condition, yes, no: yes if condition else no,
    }
    for name, function in resolvers.items():
        OmegaConf.register_new_resolver(name, function, replace=True)


def _count(number: float | str) -> str:
    """A number of tokens as people write it: 30000000000 -> 30B, 400000 -> 400K, 123456 -> 123456."""
    if isinstance(number, str) or number != int(number):
        return str(number)
    number = int(number)
    for size, letter in ((10**9, "B"), (10**6, "M"), (10**3, "K")):
        tenths, rest = divmod(number * 10, size)
        if number >= size and not rest:
            return f"{tenths // 10}{letter}" if tenths % 10 == 0 else f"{tenths / 10}{letter}"
    return str(number)


def _listing(paths: str | Sequence[str] | None) -> str | None:
    """A hash of the files that patterns name, null of null: other files are another corpus.

    Of their names and contents; where they are large together, of their names and sizes.
    """
    if paths is None:
        return None
    patterns = [paths] if isinstance(paths, str) else [str(path) for path in paths]
    files = sorted({file for pattern in patterns for file in glob.glob(pattern, recursive=True)})
    stats = [os.stat(file) for file in files]
    is_small = sum(stat.st_size for stat in stats) <= _MAX_READ_BYTES
    listed = "\n".join(
        f"{Path(file).name} {_digest(file, stat.st_mtime_ns) if is_small and Path(file).is_file() else stat.st_size}"
        for file, stat in zip(files, stats, strict=True)
    )
    return f"{len(files)} files, {hashlib.sha256(listed.encode()).hexdigest()[:16]}"


@functools.lru_cache
def _digest(file: str, _: int) -> str:
    """Of a file's content, as of a time: a configuration is resolved many times."""
    with open(file, "rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


def _sha256(path: str | None) -> str | None:
    """The start of a file's SHA-256, null of null; the stage that reads the file says so if it is absent."""
    if path is None:
        return None
    file = ROOT / path
    return hashlib.sha256(file.read_bytes()).hexdigest()[:16] if file.is_file() else "absent"


def _stem(paths: str | Sequence[str] | None) -> str:
    """The name of the first file without its endings: /data/wiki.jsonl.zst -> wiki; a glob's star goes too."""
    first = paths if isinstance(paths, str) else next(iter(paths or []), "empty")
    path = Path(str(first))
    name = path.name.split(".")[0].replace("*", "").strip("-_") or path.parent.name
    return name or "corpus"


def _sweep_name() -> str:
    if not HydraConfig.initialized():
        return "none"
    hydra = HydraConfig.get()
    return str(Path(hydra.sweep.dir if str(hydra.mode).endswith("MULTIRUN") else hydra.run.dir))


def check(config: DictConfig, names: Mapping[str, str]) -> None:
    """Refuse a composed config with unknown keys, missing values, or a criterion that nobody rates.

    Raises:
        StageError: says what is wrong, and what there is instead.
    """
    known = _known_settings(tuple(names))
    for key in config:
        if key not in known:
            raise StageError(f"there is no setting {str(key)!r}; {_there_are(str(key), known)}")
    unknown_names = [stage for stage in config.artifacts if stage not in names]
    if unknown_names:
        raise StageError(f"artifacts.{unknown_names[0]}: {_there_are(str(unknown_names[0]), set(names))}")
    if "stages" not in config:
        raise StageError("no stage is chosen: stage=[prepare_corpus,...]")
    for stage, artifact in names.items():
        if artifact and not re.fullmatch(r"[^/.][^/]*/[^/.][^/]*", artifact):
            raise StageError(f"artifacts.{stage}={artifact}: a name has the form <kind>/<name>, under paths.artifacts")
    missing = sorted(key for key, value in leaves(OmegaConf.to_container(config)).items() if value == "???")
    if missing:
        raise StageError("not set yet: " + ", ".join(f"{key}=…" for key in missing))
    for stage in config.artifacts:
        try:
            config.artifacts[stage]
        except OmegaConfBaseException as error:  # else its stage would count as one without a name: not needed
            raise StageError(f"artifacts.{stage}: {str(error).splitlines()[0]}") from error
    for key, least in {"seed": 0, "num_tokens": 1}.items():
        value = config[key]
        if isinstance(value, bool | str) or value != int(value) or value < least:
            raise StageError(f"{key} is a whole number of at least {least}, not {value!r}")
    for name, criterion in config.criteria.items():
        if "ratings" in criterion:
            raise StageError(
                f"{name} is computed, and no judge can be asked about it: select by it with criterion={name}"
            )
    if config.criterion.name not in config.criteria and "ratings" not in config.criterion:
        name = config.criterion.name
        raise StageError(
            f"nothing is judged by {name!r} (only by {', '.join(map(str, config.criteria))}): "
            f"add it with +criterion@criteria.{name}={name}"
        )
    is_judged = "judge" in config.stages and names["judge"] is not None
    if is_judged and config.judge.max_snippet_tokens > config.rater.max_tokens:
        raise StageError(
            f"judge.max_snippet_tokens={config.judge.max_snippet_tokens} is more than the rater reads: "
            f"raise rater.max_tokens={config.rater.max_tokens}, or lower it"
        )
    if "@" in str(config.judge.base_url):
        raise StageError("judge.base_url holds a user or a key, and would be written down: name judge.api_key_variable")
    for stage, given in config.stages.items():
        _check_signature(str(stage), given)


@functools.cache
def _known_settings(stages: tuple[str, ...]) -> set[str]:
    return {str(key) for key in compose("config", [f"stage=[{','.join(stages)}]"])} | {"experiment"}  # as in naming.py


def _check_signature(stage: str, given: DictConfig) -> None:
    """Compare what a stage is given with its function's parameters, without importing it (it may load torch)."""
    module, function = given["_target_"].rsplit(".", 1)
    takes = parameters(module, function)
    settings = {str(key) for key in given} - _NO_ARGUMENTS | {str(key) for key in given.inputs}
    unknown, absent = settings - takes, takes - settings - {"output"}
    if unknown:
        key = sorted(unknown)[0]
        raise StageError(f"stages.{stage} has no setting {key!r}; {_there_are(key, takes - {'output'})}")
    if absent:
        raise StageError(f"conf/stage/{stage}.yaml does not set {', '.join(sorted(absent))}")


@functools.cache
def parameters(module: str, function: str) -> frozenset[str]:
    """The keyword parameters of a function, read from its source."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise StageError(f"there is no module {module}")
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        if isinstance(node, ast.FunctionDef) and node.name == function:
            return frozenset(arg.arg for arg in [*node.args.args, *node.args.kwonlyargs])
    raise StageError(f"{module} has no function {function}")


def explain(overrides: Sequence[str]) -> list[str]:
    """What exists in the place of each override key that does not; for the user after Hydra has refused the config."""
    try:
        parsed = OverridesParser.create().parse_overrides([o for o in overrides if not o.startswith("-")])
    except HydraException:
        return []
    config, chosen = compose("config"), list[str]()
    for override in parsed:
        # the choices that compose: what a group holds depends on them
        choice = override.input_line or ""
        if "." not in override.key_or_group and not override.is_sweep_override():
            with contextlib.suppress(HydraException, OmegaConfBaseException):
                config = compose("config", [*chosen, choice])
                chosen.append(choice)
    lines = []
    for override in parsed:
        options = {file.stem for file in (ROOT / "conf" / override.key_or_group).glob("*.yaml")}
        if options:  # a group; Hydra lists its options itself, but not for a list of choices
            value = override.value()
            unknown = [str(choice) for choice in value if choice not in options] if isinstance(value, list) else []
            lines += [f"There is no {c!r} in {override.key_or_group}; {_there_are(c, options)}." for c in unknown]
            continue
        node: Any = config
        walked = ""
        for part in override.key_or_group.split("@")[0].replace("/", ".").split("."):
            if not OmegaConf.is_dict(node) or override.is_add() or part == "hydra":
                break
            if part not in node.keys():  # noqa: SIM118  (`in node` is false for a value that is not set yet)
                there = {str(key) for key in node}
                lines.append(f"There is no {part!r}{f' in {walked}' if walked else ''}; {_there_are(part, there)}.")
                break
            node, walked = node._get_node(part), f"{walked}.{part}".lstrip(".")
    return lines


def groups() -> list[str]:
    """A line a config group, with its choices, as `--help` shows them."""
    files = sorted((ROOT / "conf").rglob("*/*.yaml"))
    names = dict.fromkeys(file.parent.relative_to(ROOT / "conf").as_posix() for file in files)
    return [f"  {name:15} {', '.join(f.stem for f in files if f.parent == ROOT / 'conf' / name)}" for name in names]


def _there_are(word: str, names: Collection[str]) -> str:
    near = difflib.get_close_matches(word, names, n=1)
    return f"there are {', '.join(sorted(names))}" + (f" (did you mean {near[0]!r}?)" if near else "")
