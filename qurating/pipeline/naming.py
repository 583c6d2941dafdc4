"""The name of each artifact: the one in the config, with the overrides that change the artifact.

The config gives every stage a name (`artifacts.<stage>`). An override that changes a stage, and does not show in its
name yet, is appended as a tag: `…,lr=0.001`. So the cells of a sweep have different names where they differ, and share
the other artifacts. To find what an override changes, the config is composed with one more override at a time, and the
settings and inputs of each stage are compared before and after. Inputs are compared by name: a change reaches all later
stages that depend on it.
"""

import dataclasses
import hashlib
import pickle
import re
from collections.abc import Sequence
from typing import Any

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qurating.artifacts.identity import identifying_settings, leaves
from qurating.artifacts.lineage import STAGES
from qurating.pipeline.hydra_internals import apply_value, sets_a_value
from qurating.pipeline.safe_names import safe

_ALL = {*STAGES, *(f"{stage}.settings" for stage in STAGES)}
_NOT_SETTINGS = {"inputs", "fetches", "runtime"}  # keys of a stage's config
_MAX_NAME_BYTES = 200  # a file name may have 255 bytes; those of the working folder and the lock are longer


def name_artifacts(overrides: Sequence[str], memory: dict[Any, bytes] | None = None) -> dict[str, str]:
    """The name of every stage's artifact with these command-line overrides, `<kind>/<name>` by stage.

    Hydra must be initialised. Raises the errors of Hydra and OmegaConf if the config does not compose.

    Args:
        memory: what cells whose first overrides are the same can share; filled here. Only for cells that are named
            without a pause: it knows the files that settings name as they were.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    kept_by_hand = {o.key_or_group for o in parsed if o.key_or_group.startswith("artifacts.")}
    named_groups = {o.key_or_group.removesuffix(".name") for o in parsed if o.key_or_group.endswith(".name")}
    always = [o for o in parsed if o.key_or_group in kept_by_hand]
    # all stages get names, chosen or not
    others = [o for o in parsed if not (o.is_hydra_override() or o in always or o.key_or_group == "stage")]
    fixed = [o.input_line or "" for o in always] + [f"stage=[{','.join(STAGES)}]"]
    config = compose("config", fixed)
    others = _in_order(others, config, fixed)
    lines = [override.input_line or "" for override in others]
    context = (tuple(fixed), frozenset(map(_group, others)), frozenset(named_groups))
    memory = {} if memory is None else memory
    known = [number for number in range(len(others)) if (context, *lines[:number]) in memory]
    if known:
        done = known[-1]
        progress: _Progress = pickle.loads(memory[context, *lines[:done]])
    else:
        done, tags = 0, dict[str, dict[str, str]]((stage, {}) for stage in STAGES)
        current = _walk(config, tags, kept_by_hand, {}, [], _ALL)
        progress = _Progress(config, tags, _group_names(config, others), _readers(config), current, fixed)
    waiting: list[Override] = []
    for number, override in enumerate(others[done:], done):
        if not waiting and (context, *lines[:number]) not in memory:
            memory[context, *lines[:number]] = pickle.dumps(progress)
        progress.applied.append(override.input_line or "")
        is_value = not waiting and sets_a_value(override)
        try:
            if is_value:
                apply_value(progress.config, override)
            else:
                progress.config = compose("config", progress.applied)
        except (HydraException, OmegaConfBaseException):
            if override is others[-1]:
                raise
            waiting.append(override)  # it may only compose with the next one
            continue
        config = progress.config
        named_before, progress.named = progress.named, _group_names(config, others)
        new_tags = []
        for step in [*waiting, override]:
            group = _group(step)
            # the name of a group, set by hand, stands for all settings of the group
            if group not in named_groups or step.key_or_group == f"{group}.name":
                new_tags.append(_tag(step, named_before.get(group), progress.named.get(group), config))
        waiting.clear()
        concerned = progress.readers.get(_setting(override), _ALL)
        if not is_value or _words(override.value()) & progress.readers.keys():  # other settings may be mentioned now
            progress.readers, concerned = _readers(config), _ALL
        progress.current = _walk(config, progress.tags, kept_by_hand, progress.current, new_tags, concerned)
    return {stage: progress.current[stage].name for stage in STAGES}


@dataclasses.dataclass
class _Stage:
    """The name of a stage's artifact, and the inputs and settings of the stage."""

    name: str
    inputs: Any
    settings: Any


@dataclasses.dataclass
class _Progress:
    """What is known after some overrides: the config, the tags and names of stages, `_group_names`, `_readers`."""

    config: DictConfig
    tags: dict[str, dict[str, str]]
    named: dict[str, Any]
    readers: dict[str, set[str]]
    current: dict[str, _Stage]
    applied: list[str]


@dataclasses.dataclass
class _Tag:
    """What an override appends to names: `own_key` where it changes the settings, `inherited_key` where only inputs."""

    own_key: str
    inherited_key: str
    value: str


def _walk(
    config: DictConfig,
    tags: dict[str, dict[str, str]],
    kept_by_hand: set[str],
    before: dict[str, _Stage],
    new_tags: list[_Tag],
    concerned: set[str],
) -> dict[str, _Stage]:
    """Name the stages of `config` in order; each sees the final names of its inputs.

    If the settings or inputs of a stage differ from `before` and its name does not, `new_tags` are added to its `tags`:
    by their own keys if its settings have changed, by their keys with the group if only its inputs have. Stages that
    are not `concerned` (see `_readers`) keep what they had before.
    """
    found = {}
    unnamed = OmegaConf.to_container(config.artifacts)
    for stage in STAGES:
        if stage not in concerned:
            found[stage] = before[stage]
            config.artifacts[stage] = before[stage].name
            continue
        base = _resolved(config.artifacts, stage)
        given = config.stages[stage]
        now = _Stage(base, _resolved(given, "inputs"), before[stage].settings if before else {})
        if f"{stage}.settings" in concerned:
            # one at a time: a missing value does not hide the others
            settings = {str(key): _resolved(given, str(key)) for key in given if key not in _NOT_SETTINGS}
            now.settings = identifying_settings(settings, _resolved(given, "runtime") or [])
        if f"artifacts.{stage}" not in kept_by_hand:
            now.name = _tagged(base, tags[stage])
            own = bool(before) and now.settings != before[stage].settings
            changed = bool(before) and (own or now.inputs != before[stage].inputs)
            if changed and now.name == before[stage].name:
                tags[stage] |= {tag.own_key if own else tag.inherited_key: tag.value for tag in new_tags}
                now.name = _tagged(base, tags[stage])
        config.artifacts[stage] = now.name
        found[stage] = now
    config.artifacts = unnamed
    return found


def _readers(config: DictConfig) -> dict[str, set[str]]:
    """The stages whose name, inputs or settings mention a setting, directly or through other settings.

    The keys are settings: a key of the config, or `stages.<stage>`. In the values, `<stage>` stands for all of a stage,
    and `<stage>.settings` for its settings alone. Any text that contains the name counts as a mention: too many rather
    than too few.
    """
    raw: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
    stages, artifacts = raw.pop("stages"), raw.pop("artifacts")
    raw |= {f"stages.{stage}": given for stage, given in stages.items()}
    # the tags of a name depend on the settings of its stage
    raw |= {f"artifacts.{stage}": [name, f"stages.{stage}"] for stage, name in artifacts.items()}
    raw |= {"stages": list(raw), "artifacts": list(raw)}  # a mention of the whole may mean any of them
    mentioned = {key: _words(value) & raw.keys() for key, value in raw.items()}
    readers: dict[str, set[str]] = {key: set() for key in raw}
    for stage in STAGES:
        settings = {key: value for key, value in stages[stage].items() if key != "inputs"}
        for reader, starts in ((stage, {f"artifacts.{stage}"}), (f"{stage}.settings", _words(settings) & raw.keys())):
            waiting = set(starts)
            while waiting:
                key = waiting.pop()
                if reader not in readers[key]:
                    readers[key].add(reader)
                    waiting |= mentioned[key]
        readers[f"stages.{stage}"].add(f"{stage}.settings")
    return readers


def _words(value: Any) -> set[str]:
    """What could be a setting in the texts of a value, however nested: `judge` in `${judge.name}`, not `name`."""
    found: set[str] = set()
    for text in map(str, leaves({"": value}).values()):
        words = set(re.findall(r"(?<!\w\.)\b(?:stages\.|artifacts\.)?\w+", text))
        # by themselves they stand for all stages, but not as a folder's name
        found |= words if "${" in text else words - {"stages", "artifacts"}
    return found


def _setting(override: Override) -> str:
    """The key of `_readers` that an override of a value belongs to."""
    return ".".join(override.key_or_group.split(".")[: 2 if _group(override) == "stages" else 1])


def _group(override: Override) -> str:
    return override.key_or_group.split(".")[0]


def _group_names(config: DictConfig, overrides: Sequence[Override]) -> dict[str, Any]:
    """The name of each group that `overrides` change, by group."""
    groups = {_group(override) for override in overrides}
    return {g: _resolved(config[g], "name") for g in groups if g in config and OmegaConf.is_dict(config[g])}


def _tag(override: Override, name_before: Any, name: Any, config: DictConfig) -> _Tag:
    """The tag of an override: the name of its group if that has changed, otherwise its key and value."""
    group = _group(override)
    if name is not None and name != name_before:
        return _Tag(group, group, _safe(str(name)))
    value = "absent" if override.is_delete() else _safe(override.get_value_element_as_str())
    if override.package:
        return _Tag(override.package, override.package, value)
    first, *path = override.key_or_group.split(".")
    if not path:
        return _Tag(first, first, value)
    # the shortest end of the key that is unique in its group: lr, but writing_style.question
    settings = leaves(OmegaConf.to_container(config[first])) if OmegaConf.is_dict(config.get(first)) else {}
    ends = (".".join(path[i:]) for i in reversed(range(len(path))))
    own = next((end for end in ends if sum(f".{key}".endswith(f".{end}") for key in settings) <= 1), ".".join(path))
    return _Tag(own, own if own.startswith(f"{first}.") else f"{first}.{own}", value)


def _resolved(config: DictConfig, key: str) -> Any:
    """A value with its interpolations resolved; None if it, or a value that it refers to, is absent or `???`."""
    try:
        value = config.get(key)
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    except OmegaConfBaseException:
        return None


def _tagged(base: Any, tags: dict[str, str]) -> Any:
    if not base:
        return base  # missing
    kind, _, name = base.partition("/")
    base = f"{kind}/{safe(name, also='[]')}"  # the brackets of lists in tags
    name = base + "".join(f",{safe(key, also='[]')}={value}" for key, value in sorted(tags.items()))
    return name if len(name.encode()) <= _MAX_NAME_BYTES else _shortened(name, base, tags)


def _shortened(name: str, base: str, tags: dict[str, str]) -> str:
    """Shorten a name that is too long: the own tags that fit, as much of the base as fits, and a hash of the whole."""
    digest = hashlib.blake2b(name.encode(), digest_size=6).hexdigest()
    room = _MAX_NAME_BYTES - 20
    tail = ""
    # a key without a dot is one of the stage's own settings, which tell cells apart
    for key, value in sorted(tags.items(), key=lambda tag: ("." in tag[0], tag)):
        tag = f",{key}={value}"
        if len((tail + tag).encode()) <= room // 2:
            tail += tag
    room -= len(tail.encode())
    if len(base.encode()) > room:
        cut = base.encode()[:room].decode(errors="ignore")
        base = cut.rpartition(",")[0] or cut  # cut at the end of a tag: half a number is another number
    return f"{base}{tail},etc={digest}"


def _safe(value: str) -> str:
    """A value as part of a file name."""
    return "".join(c if c.isalnum() or c in "._-+=[]" else "_" for c in value.strip("'\" ")) or "empty"


def _in_order(overrides: list[Override], config: DictConfig, fixed: list[str]) -> list[Override]:
    """Sort overrides: choices of groups first, each with the values that it leaves at `???`, then the rest by key.

    Without those values a stage has no name yet, so that the effect of the next choice could not be seen.
    """
    raw: dict[str, Any] = OmegaConf.to_container(config)  # type: ignore[assignment]
    plain = {key for key, value in raw.items() if not isinstance(value, dict)}
    plain.discard("subset")  # sorted among the groups: the names of existing artifacts depend on that
    chosen = [o for o in overrides if "." not in o.key_or_group and o.key_or_group not in plain]
    choices = [o.input_line or "" for o in sorted(chosen, key=lambda o: o.key_or_group)]
    try:
        settings = leaves(OmegaConf.to_container(compose("config", [*fixed, *choices])))
    except HydraException:
        settings = {}  # name_artifacts meets the same error again, and raises it
    missing = {key for key, value in settings.items() if value == "???"}

    def place(override: Override) -> tuple[bool, str, bool, str]:
        key, choice = override.key_or_group, override in chosen
        first = choice or key in missing
        return not first, key.split(".")[0] if first else "", not choice, key

    return sorted(overrides, key=place)
