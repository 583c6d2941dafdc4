"""What each artifact is called: by what a person would call it, and by what an override changed.

The config gives every stage a name (`artifacts.<stage>`). An override that changes a stage, and that the name does not
say yet, is appended to it: `…,lr=0.001`. So each cell of a sweep has names of its own where it differs, and shares the
rest. What changed is found by composing the config with one override more at a time and comparing what each stage is
given; the names of its inputs are part of that, so that a change goes down the pipeline by itself.
"""

import copy
import dataclasses
import hashlib
from collections.abc import Sequence
from typing import Any

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qurating.artifacts.identity import leaves, meaning
from qurating.artifacts.lineage import STAGES

_MAX_NAME_BYTES = 200  # a file's name may have 255 bytes; the working folder and the lock add a few


def name_artifacts(overrides: Sequence[str]) -> dict[str, str]:
    """The name of every stage's artifact under these command-line overrides, `<kind>/<name>` by stage.

    Must run where Hydra is initialised. Raises Hydra's and OmegaConf's own errors where the config does not compose.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    kept_by_hand = {o.key_or_group for o in parsed if o.key_or_group.startswith("artifacts.")}
    named_groups = {o.key_or_group.removesuffix(".name") for o in parsed if o.key_or_group.endswith(".name")}
    always = [o for o in parsed if o.key_or_group in kept_by_hand]
    others = [o for o in parsed if _can_change_a_name(o.key_or_group)]
    fixed = [o.input_line or "" for o in always] + [f"stage=[{','.join(STAGES)}]"]
    others = _in_order(others, fixed)
    tags: dict[str, dict[str, str]] = {stage: {} for stage in STAGES}
    config = compose("config", fixed)
    config_before = copy.deepcopy(config)
    current = _walk(config, tags, kept_by_hand, None, [])
    applied: list[str] = []
    waiting: list[Override] = []
    for override in others:
        applied.append(override.input_line or "")
        waiting.append(override)
        try:
            config = compose("config", [*fixed, *applied])
        except (HydraException, OmegaConfBaseException):
            if override is others[-1]:
                raise
            continue  # it may need the next one
        new_tags: list[_Tag] = []
        for step in waiting:
            group = step.key_or_group.split(".")[0].split("@")[0]
            # a group's own name, set by hand, stands for all its settings
            if group not in named_groups or step.key_or_group == f"{group}.name":
                new_tags.append(_tag(step, group, config_before, config))
        waiting.clear()
        config_before = copy.deepcopy(config)
        current = _walk(config, tags, kept_by_hand, current, new_tags)
    return {stage: current[stage].name for stage in STAGES}


@dataclasses.dataclass
class _Stage:
    """A stage's artifact: its name, its inputs, and what else the stage is given."""

    name: str
    inputs: Any
    settings: Any


@dataclasses.dataclass
class _Tag:
    """What an override appends: to a stage whose own settings it changes, and to those further down."""

    own_key: str
    inherited_key: str
    value: str


def _walk(
    config: DictConfig,
    tags: dict[str, dict[str, str]],
    kept_by_hand: set[str],
    before: dict[str, _Stage] | None,
    new_tags: list[_Tag],
) -> dict[str, _Stage]:
    """Name the stages of `config` from the first to the last; each is given the final names of its inputs.

    A stage that is given something else than `before`, under the same name, has `new_tags` added to its `tags`: by
    their own keys if its settings have changed, by the keys with their group if only its inputs have.
    """
    found = {}
    for stage in STAGES:
        base = _resolved(config.artifacts, stage)
        # each by itself: one that is not set yet hides no other
        given = {
            str(key): _resolved(config.stages[stage], str(key)) for key in config.stages[stage] if key != "fetches"
        }
        runtime = given.pop("runtime", [])
        now = _Stage(base, given.pop("inputs", None), meaning(given, runtime))
        if f"artifacts.{stage}" not in kept_by_hand:
            now.name = _tagged(base, tags[stage])
            own = before is not None and now.settings != before[stage].settings
            changed = before is not None and (own or now.inputs != before[stage].inputs)
            if before and changed and now.name == before[stage].name:
                tags[stage] |= {tag.own_key if own else tag.inherited_key: tag.value for tag in new_tags}
                now.name = _tagged(base, tags[stage])
        OmegaConf.update(config, f"artifacts.{stage}", now.name)
        found[stage] = now
    return found


def _tag(override: Override, group: str, before: DictConfig, after: DictConfig) -> _Tag:
    """The name of the override's group where that has changed, else the key and value."""
    name = _resolved(after[group], "name") if group in after and OmegaConf.is_dict(after[group]) else None
    if name is not None and (group not in before or name != _resolved(before[group], "name")):
        return _Tag(group, group, _safe(str(name)))
    value = "absent" if override.is_delete() else _safe(override.get_value_element_as_str())
    if override.package:
        return _Tag(override.package, override.package, value)
    first, *path = override.key_or_group.split(".")
    if not path:
        return _Tag(first, first, value)
    # the shortest end of the key that names one setting of its group: lr, but writing_style.question
    settings = leaves(OmegaConf.to_container(after[first])) if OmegaConf.is_dict(after.get(first)) else {}
    ends = (".".join(path[i:]) for i in reversed(range(len(path))))
    own = next((end for end in ends if sum(f".{key}".endswith(f".{end}") for key in settings) <= 1), ".".join(path))
    return _Tag(own, own if own.startswith(f"{first}.") else f"{first}.{own}", value)


def _resolved(config: DictConfig, key: str) -> Any:
    """A value with its interpolations resolved; None where it, or what it needs, is absent or not set yet."""
    try:
        value = config.get(key)
        return OmegaConf.to_container(value, resolve=True) if OmegaConf.is_config(value) else value
    except OmegaConfBaseException:
        return None


def _tagged(base: Any, tags: dict[str, str]) -> Any:
    if not base:
        return base  # not set yet
    name = base + "".join(f",{key}={value}" for key, value in sorted(tags.items()))
    return name if len(name.encode()) <= _MAX_NAME_BYTES else _shortened(name, base, tags)


def _shortened(name: str, base: str, tags: dict[str, str]) -> str:
    """A name that is too long: what fits of the stage's own tags, what fits of its base, and a hash of all of it."""
    digest = hashlib.blake2b(name.encode(), digest_size=6).hexdigest()
    room = _MAX_NAME_BYTES - 20
    tail = ""
    # a key without a dot is of the stage's own settings: what cells are told apart by
    for key, value in sorted(tags.items(), key=lambda tag: ("." in tag[0], tag)):
        tag = f",{key}={value}"
        if len((tail + tag).encode()) <= room // 2:
            tail += tag
    room -= len(tail.encode())
    if len(base.encode()) > room:
        cut = base.encode()[:room].decode(errors="ignore")
        base = cut.rpartition(",")[0] or cut  # at a tag's end: half a number is another number
    return f"{base}{tail},etc={digest}"


def _safe(value: str) -> str:
    """A value as a part of a file's name."""
    return "".join(c if c.isalnum() or c in "._-+=[]" else "_" for c in value.strip("'\" ")) or "empty"


def _can_change_a_name(key: str) -> bool:
    return not key.startswith(("hydra.", "hydra/", "artifacts.", "paths.")) and key not in {
        "stage",
        "logger",
        "overwrite",
        "num_workers",
    }


def _in_order(overrides: list[Override], fixed: list[str]) -> list[Override]:
    """Choices of groups first, each with the values that it leaves unset (`???`), then the rest; by key.

    Without those values a stage has no name yet, and what the next choice changes could not be held against it.
    """

    def is_choice(override: Override) -> bool:
        return "." not in override.key_or_group and override.key_or_group not in _PLAIN_SETTINGS

    choices = [o.input_line or "" for o in overrides if is_choice(o)]
    try:
        settings = leaves(OmegaConf.to_container(compose("config", [*fixed, *choices])))
    except HydraException:
        settings = {}  # the same error comes again where it is told
    missing = {key for key, value in settings.items() if value == "???"}

    def place(override: Override) -> tuple[bool, str, bool, str]:
        key, choice = override.key_or_group, is_choice(override)
        first = choice or key in missing
        return not first, key.split(".")[0] if first else "", not choice, key

    return sorted(overrides, key=place)


_PLAIN_SETTINGS = {"seed", "num_tokens", "judgments", "ratings", "evaluation_without"}
