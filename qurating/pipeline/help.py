"""Help on the command line: the config groups with their choices, and alternatives to unknown words."""

import contextlib
import difflib
import re
import shlex
from collections.abc import Collection, Sequence
from typing import Any

from hydra import compose
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from qurating.artifacts.lineage import STAGES
from qurating.corpus.files import ROOT
from qurating.pipeline.hydra_internals import choices_with, settings_of_choices


def explain(words: Sequence[str]) -> list[str]:
    """One line per unknown key or choice, with its alternatives, and per override that Hydra cannot read.

    For the user, after Hydra has refused the `words` of the command line.
    """
    given, split = _joined(words)
    unreadable = [_quoting(word) for word in given if word in split or _parsed(word) is None]
    parsed = [override for word in given if (override := _parsed(word)) is not None]
    choices, chosen = [f"stage=[{','.join(STAGES)}]"], list[str]()
    for override in parsed:
        # apply each choice that composes: the keys of a group depend on it
        choice = override.input_line or ""
        if "." not in override.key_or_group and not override.is_sweep_override() and override.key_or_group != "stage":
            with contextlib.suppress(HydraException, OmegaConfBaseException):
                compose("config", [*choices, *chosen, choice])
                chosen.append(choice)
    config = compose("config", [*choices, *chosen])
    return unreadable + [line for override in parsed for line in _explained(override, config)]


def _joined(words: Sequence[str]) -> tuple[list[str], set[str]]:
    """The overrides among the words of a command line, and those that the shell has split at a space, put together."""
    found, split = list[str](), set[str]()
    for before, word in zip(["", *words], words, strict=False):
        if word.startswith("-") or before.startswith("--"):  # a flag, and its value as in --cfg job
            continue
        if "=" in word or word.startswith("~") or not found:
            found.append(word)
        else:
            split.discard(found[-1])
            found[-1] += f" {word}"
            split.add(found[-1])
    return found, split


def _parsed(word: str) -> Override | None:
    with contextlib.suppress(HydraException):
        return OverridesParser.create().parse_overrides([word])[0]
    return None


def _quoting(word: str) -> str:
    """How an override that Hydra cannot read, or that the shell has split, is quoted for both."""
    key, _, value = word.partition("=")
    problem = f"{word!r} cannot be read as it stands"
    if _parsed(word) is not None:
        return f"{problem}, split at a space: quote it for the shell: {shlex.quote(word)}"
    whole, each = f"{key}={_quoted(value)}", f"{key}={','.join(map(_quoted, value.split(',')))}"
    if value[:1] + value[-1:] == "[]":
        whole = each = f"{key}=[{','.join(map(_quoted, value[1:-1].split(',')))}]"
    if "=" not in word or value.startswith("{") or _parsed(whole) is None:
        return f"{problem}: an override is key=value; put texts with special characters in double quotes"
    sweep = "" if each == whole else f"; to sweep over {value.count(',') + 1} values: {shlex.quote(each)}"
    return f"{problem}: quote the value for Hydra, and all of it for the shell: {shlex.quote(whole)}{sweep}"


def _quoted(value: str) -> str:
    """A value in quotes of Hydra, in which backslashes count only before a quote."""
    return '"' + re.sub(r'(\\*)("|$)', lambda found: found[1] * 2 + found[2].replace('"', '\\"'), value) + '"'


def _explained(override: Override, config: DictConfig) -> list[str]:
    """What is unknown in an override: none or one line, or one per choice of a list."""
    options = {file.stem for file in (ROOT / "conf" / override.key_or_group).glob("*.yaml")}
    if options:  # a group; Hydra itself lists the options, but not for a list of choices
        value = override.value()
        unknown = [str(choice) for choice in value if choice not in options] if isinstance(value, list) else []
        return [f"{override.key_or_group} has no choice {c!r}; {alternatives(c, options)}." for c in unknown]
    node: Any = config
    walked = ""
    for part in override.key_or_group.split("@")[0].replace("/", ".").split("."):
        if not OmegaConf.is_dict(node) or override.is_add() or part == "hydra":
            break
        if part not in node.keys():  # noqa: SIM118  (`in node` is false for a missing value)
            if choices_with(override.key_or_group):
                break  # other choices have it
            from qurating.judging.settings import RENAMED  # not for --help: it imports numpy

            if walked == "judge" and part in RENAMED:
                return [f"judge.{part} is now called {RENAMED[part]}."]
            known = {str(key) for key in node if not str(key).startswith("_")}
            problem = f"{walked} has no setting {part!r}" if walked else f"Unknown setting {part!r}"
            return [f"{problem}; {alternatives(part, known, settings_of_choices(walked))}."]
        node, walked = node._get_node(part), f"{walked}.{part}".lstrip(".")
    return []


def groups() -> list[str]:
    """One line per config group with its choices, for `--help`."""
    files = sorted((ROOT / "conf").rglob("*/*.yaml"))
    names = dict.fromkeys(file.parent.relative_to(ROOT / "conf").as_posix() for file in files)
    return [f"  {name:15} {', '.join(f.stem for f in files if f.parent == ROOT / 'conf' / name)}" for name in names]


def alternatives(word: str, names: Collection[str], others: Collection[str] = ()) -> str:
    """The end of a message about an unknown word: the known names, and the nearest of them or of `others`."""
    near = difflib.get_close_matches(word, names, n=1) or difflib.get_close_matches(word, others, n=1)
    return f"available: {', '.join(sorted(names))}" + (f" (did you mean {near[0]!r}?)" if near else "")
