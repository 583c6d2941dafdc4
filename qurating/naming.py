"""What each artifact is called: by what a person would call it, and by what an override changed.

The config gives every stage a name (`artifacts.<stage>`). An override that changes a stage, and that the name does not
say yet, is appended to it: `…,lr=0.001`. So each cell of a sweep has names of its own where it differs, and shares the
rest. What changed is found by composing the config with one override more at a time and comparing what each stage is
given; the names of its inputs are part of that, so that a change goes down the pipeline by itself.
"""

import hashlib
from collections.abc import Sequence
from typing import Any

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qurating.artifacts import without_runtime

# In the order in which they feed one another.
STAGES = ("prepare_corpus", "judge", "train_rater", "rate", "select", "order", "train_lm", "evaluate", "analyse")

_MAX_NAME_BYTES = 200  # a file's name may have 255 bytes; the working folder and the lock add a few


def name_artifacts(overrides: Sequence[str]) -> dict[str, str]:
    """The name of every stage's artifact under these command-line overrides, `<kind>/<name>` by stage.

    Must run where Hydra is initialised. Raises Hydra's and OmegaConf's own errors where the config does not compose.
    """
    parsed = OverridesParser.create().parse_overrides(list(overrides))
    kept_by_hand = {o.key_or_group for o in parsed if o.key_or_group.startswith("artifacts.")}
    named_groups = {o.key_or_group.removesuffix(".name") for o in parsed if o.key_or_group.endswith(".name")}
    always = [o for o in parsed if o.key_or_group in kept_by_hand]
    others = sorted((o for o in parsed if _can_change_a_name(o.key_or_group)), key=_groups_first)

    fixed = [o.input_line or "" for o in always] + [f"stage=[{','.join(STAGES)}]"]
    tags: dict[str, dict[str, str]] = {stage: {} for stage in STAGES}
    before = _Composed([*fixed], tags, kept_by_hand)
    applied: list[str] = []
    waiting: list[Override] = []
    for override in others:
        applied.append(override.input_line or "")
        waiting.append(override)
        try:
            after = _Composed([*fixed, *applied], tags, kept_by_hand)
        except (HydraException, OmegaConfBaseException):
            if override is others[-1]:
                raise
            continue  # it may need the next one
        for step in waiting:
            after = _tag(before, after, step, tags, kept_by_hand, named_groups, [*fixed, *applied])
        waiting.clear()
        before = after
    return before.names


class _Composed:
    """A config with all stages in it: each stage's name and what it is given, with the tags found so far."""

    def __init__(self, overrides: list[str], tags: dict[str, dict[str, str]], kept_by_hand: set[str]) -> None:
        self.config = compose("config", overrides)
        self.names: dict[str, str] = {}
        self.bases: dict[str, Any] = {}
        self.given: dict[str, Any] = {}
        for stage in STAGES:
            base = _resolved(self.config.artifacts, stage)
            self.bases[stage] = base
            # before its own name is set: what it is given holds the names of its inputs, which come earlier
            self.given[stage] = without_runtime(_resolved(self.config.stages, stage))
            hand = f"artifacts.{stage}" in kept_by_hand
            self.names[stage] = base if hand or not base else _tagged(str(base), tags[stage])
            OmegaConf.update(self.config, f"artifacts.{stage}", self.names[stage])


def _tag(
    before: _Composed,
    after: _Composed,
    override: Override,
    tags: dict[str, dict[str, str]],
    kept_by_hand: set[str],
    named_groups: set[str],
    overrides: list[str],
) -> _Composed:
    """Append what `override` changed to the names that do not say it, from the first stage to the last."""
    key = override.key_or_group
    group = key.split(".")[0].split("@")[0]
    if group in named_groups and key != f"{group}.name":
        return after  # the group's own name, set by hand, stands for all its settings
    for stage in STAGES:
        unsaid = after.bases[stage] is not None and after.names[stage] == before.names[stage]
        if unsaid and after.given[stage] != before.given[stage] and f"artifacts.{stage}" not in kept_by_hand:
            tags[stage] |= _tag_of(override, group, before, after)
            # the names further down are made of this one
            after = _Composed(overrides, tags, kept_by_hand)
    return after


def _tag_of(override: Override, group: str, before: _Composed, after: _Composed) -> dict[str, str]:
    name = OmegaConf.select(after.config, f"{group}.name")
    if name is not None and name != OmegaConf.select(before.config, f"{group}.name"):
        return {group: _safe(str(name))}
    if override.package:
        return {override.package: _safe(override.get_value_element_as_str())}
    value = "absent" if override.is_delete() else override.get_value_element_as_str()
    return {override.key_or_group.split(".")[-1]: _safe(value)}


def _resolved(config: DictConfig, key: str) -> Any:
    """A node with its interpolations resolved, or None where a value that it needs is not set yet."""
    try:
        return OmegaConf.to_container(OmegaConf.create({"node": config[key]}, parent=config), resolve=True)["node"]  # type: ignore[call-arg,index]
    except OmegaConfBaseException:
        return None


def _tagged(base: str, tags: dict[str, str]) -> str:
    name = base + "".join(f",{key}={value}" for key, value in sorted(tags.items()))
    if len(name.encode()) > _MAX_NAME_BYTES:
        digest = hashlib.blake2b(name.encode(), digest_size=6).hexdigest()
        name = name.encode()[: _MAX_NAME_BYTES - 20].decode(errors="ignore") + f",etc={digest}"
    return name


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


def _groups_first(override: Override) -> tuple[bool, str]:
    is_value = "." in override.key_or_group or (override.package is None and override.key_or_group in _PLAIN_KEYS)
    return is_value, override.key_or_group


_PLAIN_KEYS = {"seed", "num_tokens"}
